"""Names find their codes, however they are spelled, and every entry of the table is well formed."""

import json
import re
from importlib import resources

import pytest
from sam2adapt.imaging.terminology import Structure, describe

GENERAL = "Segmentation category and type - 3D Slicer General Anatomy list"
DICOM = "Segmentation category and type - DICOM master list"
ENTRIES = json.loads(resources.files("sam2adapt.imaging").joinpath("structures.json").read_text("utf-8"))
CODE = r"(SCT\^\d{5,}\^[^~^|]+|\^\^)"
SERIALIZED = re.compile(rf"(?:{GENERAL}|{DICOM})~{CODE}~{CODE}~{CODE}~Anatomic codes - DICOM master list~{CODE}~{CODE}")


def test_the_entry_of_a_right_lung_is_slicers_own():
    # as in the header of slicerio's Segmentation.seg.nrrd, which Slicer wrote
    assert describe(5, "right lung").terminology == (
        f"{GENERAL}~SCT^123037004^Anatomical Structure~SCT^39607008^Lung~SCT^24028007^Right"
        "~Anatomic codes - DICOM master list~^^~^^"
    )


@pytest.mark.parametrize(
    "name", ["right lung", "Right Lung", "lung right", "lung_right", "lung-R", "RightLung", "lungs (right)", "rt lung"]
)
def test_spelling_does_not_matter(name):
    wanted, found = describe(1, "right lung"), describe(1, name)
    assert (found.terminology, found.color) == (wanted.terminology, wanted.color)
    assert found.name == name


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("RV", "right ventricle"),
        ("LV", "left ventricle"),
        ("MYO", "myocardium"),
        ("LA", "left atrium"),
        ("IVC", "inferior vena cava"),
        ("vertebrae_L1", "L1 vertebra"),
        ("rib_left_7", "left rib 7"),
        ("heart_ventricle_left", "left ventricle"),
        ("lung_upper_lobe_left", "left upper lobe of lung"),
        ("hippocampus anterior", "anterior hippocampus"),
        ("tumour", "tumor"),
        ("retinal vessels", "retinal vessel"),
        ("L4-L5 intervertebral disc", "L4-L5 disc"),
        ("membrane", "cell membrane"),
    ],
)
def test_short_forms(short, name):
    assert describe(1, short).terminology == describe(1, name).terminology
    assert describe(1, short).color == describe(1, name).color


def test_left_is_not_right_and_anterior_is_not_posterior():
    assert describe(1, "left kidney").terminology != describe(1, "right kidney").terminology
    assert describe(1, "left ventricle").terminology != describe(1, "left lateral ventricle").terminology
    assert describe(1, "anterior hippocampus").terminology != describe(1, "posterior hippocampus").terminology
    assert describe(1, "anterior hippocampus").color != describe(1, "posterior hippocampus").color


def test_a_lesion_is_placed_in_its_organ():
    assert describe(1, "liver tumor").terminology.endswith("~SCT^10200004^Liver~^^")
    assert describe(1, "retinal vessel").terminology.endswith("~SCT^81745001^Eye~^^")


def test_unknown_names_are_body_structures_of_different_colours():
    unknown = [describe(number, f"thing {number}") for number in range(1, 256)]
    assert all("Tissue" not in structure.terminology for structure in unknown)
    assert all(SERIALIZED.fullmatch(structure.terminology) for structure in unknown)
    assert len({structure.color for structure in unknown}) == 255


def faults(entry: dict) -> list[str]:
    """What is wrong with an entry of the table."""
    names = [entry["name"], *(f"{side} {entry['name']}" for side in ("left", "right") if entry.get("paired"))]
    structures = [describe(1, name) for name in names]
    wrong = []
    if len({structure.terminology for structure in structures}) < len(names):
        wrong.append("its sides have one code")
    for structure in structures:
        if not SERIALIZED.fullmatch(structure.terminology):
            wrong.append(f"no serialized terminology: {structure.terminology}")
        if not all(0 <= part <= 1 for part in structure.color):
            wrong.append(f"no colour: {structure.color}")
        if entry.get("type", ("123037004",))[0] not in structure.terminology:
            wrong.append(f"another type: {structure.terminology}")
    for alias in entry.get("aliases", ()):
        if describe(1, alias).terminology != structures[0].terminology:
            wrong.append(f"alias '{alias}' finds another entry")
    return wrong


def test_every_entry():
    assert {entry["name"]: wrong for entry in ENTRIES if (wrong := faults(entry))} == {}


def test_a_wrong_entry_is_recognised():
    entry = {"name": "liver", "paired": True, "type": ["999999"], "aliases": ["Liver", "spleen"]}
    found = [fault.partition(":")[0] for fault in faults(entry)]
    assert found == ["its sides have one code", *["another type"] * 3, "alias 'spleen' finds another entry"]


def test_names_of_the_table_are_different():
    assert len({entry["name"] for entry in ENTRIES}) == len(ENTRIES)


def test_json_round_trip():
    structure = describe(7, "Größe")
    entry = json.loads(json.dumps(structure.to_json()))
    assert set(entry) == {"id", "name", "terminology", "color"}
    assert Structure.from_json(entry) == structure
