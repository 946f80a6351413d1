"""Classes made out of the segments of all cases: matched by code, else by name; what is not certain is said."""

import pytest

GENERAL = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
DICOM = "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure"
REGIONS = "~Anatomic codes - DICOM master list~^^~^^"
LIVER = f"{GENERAL}~SCT^10200004^Liver~^^{REGIONS}"
LIVER_IN_DICOM = f"{DICOM}~SCT^10200004^Leber~^^{REGIONS}"
RIGHT_LUNG = f"{GENERAL}~SCT^39607008^Lung~SCT^24028007^Right{REGIONS}"
LEFT_LUNG = f"{GENERAL}~SCT^39607008^Lung~SCT^7771000^Left{REGIONS}"
TISSUE = f"{GENERAL[:-41]}~SCT^85756007^Tissue~SCT^85756007^Tissue~^^{REGIONS}"


@pytest.fixture
def case(lib):
    """case("a", ("liver", LIVER), ...) has these segments; a third entry is the number of voxels."""

    class Case(lib.Cases.TrainingCase):
        def __init__(self, name, *segments, use="train"):
            super().__init__(name, use)
            self._segments = [
                lib.Cases.Segment(f"{name}.{n}", text, code, (0.1 * n, 0, 0), *(rest or [100]))
                for n, (text, code, *rest) in enumerate(segments)
            ]

        def segments(self):
            return self._segments

    return Case


def described(classes):
    return [(entry.id, entry.name, [segmentId for _case, segmentId in entry.members]) for entry in classes]


def test_names_and_codes_decide_and_order_does_not(lib, case):
    one = case("one", ("liver", LIVER), ("Tumour", ""), ("spleen", ""))
    other = case("other", (" TUMOUR ", ""), ("Leber", LIVER_IN_DICOM), ("spleen", TISSUE))
    classes = lib.Classes.match([one, other])
    assert described(classes) == [
        (1, "liver", ["one.0", "other.1"]),
        (2, "Tumour", ["one.1", "other.0"]),
        (3, "spleen", ["one.2", "other.2"]),
    ]
    assert all(entry.ambiguous is None and entry.missing == [] for entry in classes)
    assert lib.Classes.problems([one, other], classes) == []
    assert classes[0].toJson() == {"id": 1, "name": "liver", "terminology": LIVER, "color": [0, 0, 0]}
    # "Tissue" says nothing: the engine finds the code by the name.
    assert "terminology" not in classes[2].toJson() and classes[0].voxels == 200
    again = lib.Classes.match([other, one])
    assert {entry.key for entry in classes} == {entry.key for entry in again}


def test_segment_without_code_joins_those_of_its_name(lib, case):
    classes = lib.Classes.match([case("a", ("Liver", "")), case("b", ("liver", LIVER))])
    assert described(classes) == [(1, "Liver", ["a.0", "b.0"])] and classes[0].terminology == LIVER


def test_sides_are_two_classes_and_absence_is_said(lib, case):
    right, both = case("right", ("lung R", RIGHT_LUNG)), case("both", ("lung R", RIGHT_LUNG), ("lung L", LEFT_LUNG))
    classes = lib.Classes.match([right, both])
    assert [(entry.name, entry.missing) for entry in classes] == [("lung R", []), ("lung L", ["right"])]
    both.use = "ignore"
    assert [entry.name for entry in lib.Classes.match([right, both])] == ["lung R"]


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ([("liver", ""), ("liver", "")], "several segments for the structure 'liver'"),
        ([("liver", LIVER), ("Leber", LIVER_IN_DICOM)], "several segments for the structure 'liver'"),
        ([("lung", RIGHT_LUNG), ("Lung", LEFT_LUNG)], "name 'lung' is used with different codes"),
    ],
    ids=["two segments with one name", "two segments with one code", "one name with two codes"],
)
def test_ambiguous_classes_are_refused_until_they_are_left_out(lib, case, segments, words):
    cases = [case("a", *segments, ("spleen", ""))]
    classes = lib.Classes.match(cases)
    *ambiguous, spleen = classes
    assert all(words in entry.ambiguous for entry in ambiguous) and spleen.ambiguous is None
    errors = lib.Classes.problems(cases, classes)
    assert {type(error).__name__ for error in errors} == {"ClassesError"} and words in errors[0].message
    for entry in ambiguous:
        entry.use = False
    assert lib.Classes.problems(cases, classes) == []


def test_segment_without_code_is_not_given_one_of_two(lib, case):
    cases = [case("a", ("lung", RIGHT_LUNG)), case("b", ("lung", LEFT_LUNG)), case("c", ("lung", ""))]
    classes = lib.Classes.match(cases)
    assert described(classes) == [(1, "lung", ["a.0"]), (2, "lung", ["b.0"]), (3, "lung", ["c.0"])]
    assert all(entry.ambiguous for entry in classes)


@pytest.mark.parametrize(
    ("uses", "voxels", "words"),
    [
        (("train", "validate"), (0, 50), "only in cases for validation"),
        (("train", "train"), (0, 0), "'liver' is not drawn in any case"),
        (("validate", "validate"), (50, 50), "no case to train on"),
        (("ignore", "ignore"), (50, 50), "no case to train on"),
    ],
)
def test_nothing_to_learn_from(lib, case, uses, voxels, words):
    cases = [
        case(f"case {n}", ("liver", LIVER, count), use=use)
        for n, (use, count) in enumerate(zip(uses, voxels, strict=True))
    ]
    errors = lib.Classes.problems(cases, lib.Classes.match(cases))
    assert words in errors[0].message and errors[0].remedy


def test_what_was_not_counted_is_left_to_the_engine(lib, case):
    cases = [case("a", ("liver", LIVER, None)), case("b", ("liver", LIVER, 0), use="validate")]
    assert lib.Classes.problems(cases, lib.Classes.match(cases)) == []


def test_too_many_classes(lib, case):
    cases = [case("a", *((f"vessel {n}", "") for n in range(255)))]
    classes = lib.Classes.match(cases)
    (error,) = lib.Classes.problems(cases, classes)
    assert "255 structures" in error.message
    classes[7].use = False
    assert lib.Classes.problems(cases, classes) == []


def test_codes_are_read_as_slicer_writes_them(lib, nodes):
    """A new segment of Slicer has a code that says nothing; one set through the terminology logic has one."""
    segmentation = nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode").GetSegmentation()
    segment = segmentation.GetSegment(segmentation.AddEmptySegment("", "liver"))
    assert lib.Classes.codeOf(segment.GetTerminology()) == ""
    entry = nodes.slicer.vtkSlicerTerminologyEntry()
    logic = nodes.slicer.vtkSlicerTerminologiesModuleLogic
    for text in (LIVER, LEFT_LUNG, TISSUE):
        assert logic.DeserializeTerminologyEntry(text, entry)
        written = logic.SerializeTerminologyEntry(entry)
        assert lib.Classes.codeOf(written) == lib.Classes.codeOf(text)
    assert lib.Classes.codeOf(TISSUE) == "" and lib.Classes.codeOf("") == ""
    assert lib.Classes.codeOf(LEFT_LUNG) == "SCT^39607008~SCT^7771000~~"
