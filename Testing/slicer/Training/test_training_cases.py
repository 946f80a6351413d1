"""Cases of the scene and of folders: what belongs together, which slices are annotated, and what is wrong with them."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from example_nodes import LIVER, SPLEEN
from sam2adapt.shared.labels.slice_tags import EMPTY

slicerio = pytest.importorskip("slicerio")

SHAPE = (10, 6, 7)  # K, J, I


def drawnOn(slices, axis=0, shape=SHAPE):
    """Liver on these slices along a numpy axis, and one voxel of spleen on the first of them."""
    labels = np.zeros(shape, np.uint8)
    view = np.moveaxis(labels, axis, 0)
    view[slices, 1:4, 1:4] = 1
    if len(slices):
        view[slices[0], 4, 4] = 5
    return labels


@pytest.fixture
def annotate(lib, nodes):
    """annotate(slices) makes a volume with a segmentation that has voxels on these slices of K."""

    def make(slices, name="CT", **geometry):
        volumeNode = nodes.addVolume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), name=name, **geometry)
        return lib.LabelImport.importLabels(volumeNode, drawnOn(slices), [LIVER, SPLEEN])

    return make


def onlyCase(lib):
    (case,) = lib.Cases.fromScene()
    return case


@pytest.mark.parametrize(
    ("slices", "whole"),
    [
        ([2, 5, 8], False),
        ([2, 3, 4, 5], True),
        ([2, 3, 4], False),
        ([7], False),
        ([2, 3, 4, 6], False),
        (list(range(10)), True),
    ],
)
def test_annotated_slices(lib, annotate, slices, whole):
    segmentationNode = annotate(slices)
    case = onlyCase(lib)
    assert case.problems == [] and len(case.notes) == 1
    assert (case.isWhole, case.sliceCount, case.axis) == (whole, 10, 2)
    assert case.annotatedSlices == (list(range(10)) if whole else slices)
    assert [(s.name, s.voxels) for s in case.segments()] == [("liver", 9 * len(slices)), ("spleen", 1)]
    for choice in (True, False):
        lib.Cases.setWhole(segmentationNode, choice)
        case.examine()
        assert case.annotatedSlices == (list(range(10)) if choice else slices) and case.notes == []
    lib.Cases.setWhole(segmentationNode, None)
    case.examine()
    assert case.isWhole == whole


def test_declared_empty_slices_are_annotated(lib, annotate):
    segmentationNode = annotate([3, 4, 5, 6])
    lib.Cases.declareEmpty(segmentationNode, 2, [9, 0])
    case = onlyCase(lib)
    assert case.annotatedSlices == [0, 3, 4, 5, 6, 9] and not case.isWhole
    segmentationNode.GetSegmentation().GetNthSegment(1).SetTag(EMPTY, " 1, 9,")  # of an earlier version
    assert onlyCase(lib).annotatedSlices == [1, 3, 4, 5, 6, 9]
    lib.Cases.declareEmpty(segmentationNode, 2, [])
    assert onlyCase(lib).isWhole and lib.Cases.emptySlices(segmentationNode, 2) == []


@pytest.mark.parametrize(("text", "word"), [("3,10", "Slice 11"), ("3;4", "'3;4'"), ("-1", "'-1'")])
def test_empty_slices_that_make_no_sense(lib, annotate, text, word):
    annotate([1]).GetSegmentation().GetNthSegment(0).SetTag(EMPTY, text)
    (problem,) = onlyCase(lib).problems
    assert type(problem).__name__ == "TrainingDataError" and word in problem.message and problem.remedy


def test_slices_declared_empty_in_the_segment_editor_are_annotated_where_no_structure_is(lib, annotate):
    segmentationNode = annotate([3, 4, 5, 6])
    first, second = segmentationNode.GetSegmentation().GetSegmentIDs()
    lib.SliceTags.setEmpty(segmentationNode, first, "K", [0, 1])
    lib.SliceTags.setEmpty(segmentationNode, second, "K", [1, 2])
    lib.SliceTags.setEmpty(segmentationNode, second, "J", [0])
    case = onlyCase(lib)
    assert case.problems == [] and case.annotatedSlices == [1, 3, 4, 5, 6]
    lib.Cases.declareEmpty(segmentationNode, 2, [9])
    assert onlyCase(lib).annotatedSlices == [3, 4, 5, 6, 9]
    assert lib.SliceTags.declared(segmentationNode, second) == [("J", 0), ("K", 2), ("K", 9)]


def test_empty_slices_alone_are_a_case_and_survive_a_file(lib, nodes, annotate, tmp_path):
    segmentationNode = annotate([])
    assert "no voxel" in onlyCase(lib).problems[0].message
    lib.Cases.declareEmpty(segmentationNode, 2, [2, 4])
    assert onlyCase(lib).annotatedSlices == [2, 4] and onlyCase(lib).problems == []
    storage = nodes.slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "saved.seg.nrrd"))
    assert storage.WriteData(segmentationNode)
    copy = nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(copy) and lib.Cases.emptySlices(copy, 2) == [2, 4]


def test_slices_along_another_axis(lib, nodes):
    volumeNode = nodes.addVolume(np.zeros(SHAPE, np.int16), spacing=(5.0, 1.0, 1.0))
    lib.LabelImport.importLabels(volumeNode, drawnOn([1, 4], axis=2), [LIVER, SPLEEN])
    case = onlyCase(lib)
    assert (case.axis, case.annotatedSlices, case.sliceCount) == (0, [1, 4], 7)


def test_what_cannot_be_used_says_why(lib, nodes, annotate):
    scene = nodes.scene
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "orphan").GetSegmentation().AddEmptySegment("", "liver")
    empty = lib.NewNodes.createSegmentationNode(nodes.addVolume(name="plain"))
    empty.SetReferenceImageGeometryParameterFromVolumeNode(nodes.slicer.util.getNode("plain"))
    sheared = annotate([2, 5], name="sheared")
    matrix = lib.Geometry.ijkToRAS(nodes.slicer.util.getNode("sheared"))
    matrix[0, 1] += 0.5
    nodes.slicer.util.getNode("sheared").SetIJKToRASMatrix(nodes.slicer.util.vtkMatrixFromArray(matrix))
    found = {case.name: [(type(p).__name__, p.message) for p in case.problems] for case in lib.Cases.fromScene()}
    assert found == {
        "orphan": [("TrainingDataError", "Segmentation 'orphan' does not say which volume it belongs to.")],
        "plain": [("TrainingDataError", "Segmentation 'plain segmentation' has no segment.")],
        "sheared": [("GeometryError", "The voxel axes of volume 'sheared' are not perpendicular.")],
    }
    assert sheared.GetSegmentation().GetNumberOfSegments() == 2


def test_hidden_segmentations_and_second_ones_of_a_volume(lib, nodes, annotate):
    first = annotate([2, 5])
    volumeNode = nodes.slicer.util.getNode("CT")
    second = lib.LabelImport.importLabels(volumeNode, drawnOn([1]), [LIVER, SPLEEN])
    lib.LabelImport.importLabels(volumeNode, drawnOn([1]), [LIVER, SPLEEN]).SetHideFromEditors(True)
    one, other = lib.Cases.fromScene()
    assert (one.segmentationNode, one.use) == (first, "train")
    assert (other.segmentationNode, other.use) == (second, "ignore") and "same volume" in other.notes[-1]
    other.use = "validate"
    (error,) = lib.Classes.problems([one, other], lib.Classes.match([one, other]))
    assert error.message == "Volume 'CT' is used by two cases."


def test_segmentation_that_lies_elsewhere(lib, nodes, annotate):
    segmentationNode = annotate([2, 5])
    volumeNode = nodes.slicer.util.getNode("CT")
    transform = nodes.addTransform(np.eye(3), (-2.0, 0.0, 0.0))
    volumeNode.SetAndObserveTransformNodeID(transform.GetID())
    assert "63 %" in onlyCase(lib).problems[0].message
    segmentationNode.SetAndObserveTransformNodeID(transform.GetID())
    assert onlyCase(lib).problems == [] and len(onlyCase(lib).notes) == 1
    warp = nodes.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    segmentationNode.SetAndObserveTransformNodeID(warp.GetID())
    (problem,) = onlyCase(lib).problems
    assert type(problem).__name__ == "GeometryError"


def test_segmentation_on_another_grid_is_resampled(lib, nodes):
    fine = nodes.addVolume(np.zeros((20, 12, 14), np.int16), spacing=(0.35, 0.45, 1.5), name="fine")
    labels = np.zeros((20, 12, 14), np.uint8)
    labels[4:6, 2:8, 2:8] = labels[12:14, 2:8, 2:8] = 1
    segmentationNode = lib.LabelImport.importLabels(fine, labels, [LIVER])
    # Voxel edges coincide: the first voxel of the coarse grid covers eight of the fine one.
    coarse = nodes.addVolume(
        np.zeros(SHAPE, np.int16), origin=(12.5 - 0.175, -40.0 - 0.225, 7.25 + 0.75), name="coarse"
    )
    case = lib.Cases.SceneCase(coarse, segmentationNode)
    assert case.problems == [] and any("resampled" in note for note in case.notes)
    assert case.annotatedSlices == [2, 6] and case.segments()[0].voxels == 2 * 3 * 3


def test_what_changes_while_a_case_is_looked_at_is_seen(lib, nodes, annotate, monkeypatch):
    monkeypatch.setattr(lib.LabelExport, "_AT_ONCE", 1)
    node = annotate([1, 3, 6])
    volumeNode = lib.Volumes.volumeOf(node)
    case = lib.Cases.SceneCase(volumeNode, node, isExamined=False)
    steps = case.examineSteps()
    for _ in range(5):
        next(steps)
    drawn = lib.LabelExport.exportLabels(volumeNode, node, nodes.segmentIds(node))
    drawn[0] = drawn[1]
    lib.LabelImport.importLabels(volumeNode, drawn, [LIVER, SPLEEN | {"id": 2}], node)
    for _ in steps:
        pass
    assert case.drawnSlices == [0, 1, 3, 6] and len(list(lib.Cases.sceneCases())) > 5


def test_segmentation_of_surfaces(lib, nodes, annotate):
    segmentationNode = annotate([3, 4, 5, 6])
    segmentation = segmentationNode.GetSegmentation()
    assert segmentationNode.CreateClosedSurfaceRepresentation()
    segmentation.SetSourceRepresentationName("Closed surface")
    case = onlyCase(lib)
    assert case.problems == [] and case.segments()[0].voxels > 0
    elsewhere = nodes.addVolume(np.zeros(SHAPE, np.int16), origin=(500, 0, 0), name="elsewhere")
    assert "100 %" in lib.Cases.SceneCase(elsewhere, segmentationNode).problems[0].message


def test_removed_nodes_are_noticed(lib, nodes, annotate):
    segmentationNode = annotate([2])
    case = onlyCase(lib)
    assert case.isInScene()
    nodes.scene.RemoveNode(segmentationNode)
    assert not case.isInScene()


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


@pytest.mark.parametrize("layout", ["nnU-Net", "MSD", "images"])
def test_folders(lib, scene, tmp_path, layout):
    images, labels = {"images": ("images", "labels")}.get(layout, ("imagesTr", "labelsTr"))
    suffix = "_0000" if layout == "nnU-Net" else ""
    for name in ("b", "a", "._a", "alone"):
        save(tmp_path / images / f"{name}{suffix}.nii.gz", np.zeros(SHAPE, np.int16))
    for name in ("a", "b"):
        save(tmp_path / labels / f"{name}.nii.gz", drawnOn([2]))
    names = {1: "liver", 5: "spleen"}
    entries = {"nnU-Net": {"background": 0, "liver": 1, "spleen": 5, "ignore": 7}, "MSD": {"0": "x", **names}}
    if layout in entries:
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": entries[layout]}))
        names = None
    one, other = lib.FolderCases.fromFolder(tmp_path, names)
    assert (one.name, other.name, one.use) == ("a", "b", "train")
    assert [(s.id, s.name) for s in one.segments()] == [("1", "liver"), ("5", "spleen")]
    assert one.problems == [] and one.volumeNode is None and one.annotatedSlices is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLDisplayableNode") == 0


def test_folder_without_names_of_its_values(lib, scene, tmp_path):
    save(tmp_path / "images" / "a.nrrd", np.zeros(SHAPE, np.int16))
    save(tmp_path / "labels" / "a.nrrd", drawnOn([2]))
    (case,) = lib.FolderCases.fromFolder(tmp_path)
    assert [type(problem).__name__ for problem in case.problems] == ["ClassesError"] and "a.nrrd" in str(
        case.problems[0]
    )


def test_folder_that_slicer_saved(lib, nodes, annotate, tmp_path):
    segmentationNode = annotate([2, 5], name="CT")
    segmentationNode.GetSegmentation().GetNthSegment(1).SetName("Milz “ü”")
    for storage, node, name in (
        (nodes.slicer.vtkMRMLVolumeArchetypeStorageNode(), nodes.slicer.util.getNode("CT"), "CT.nrrd"),
        (nodes.slicer.vtkMRMLSegmentationStorageNode(), segmentationNode, "CT.seg.nrrd"),
    ):
        storage.SetFileName(str(tmp_path / name))
        assert storage.WriteData(node)
    (case,) = lib.FolderCases.fromFolder(tmp_path)
    expected = lib.Cases.segmentsOf(segmentationNode)
    for segment, same in zip(case.segments(), expected, strict=True):
        assert (segment.id, segment.name, segment.terminology) == (same.id, same.name, same.terminology)
        assert segment.color == pytest.approx(same.color, abs=1e-5)


@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, "InputFileError"), ({}, "TrainingDataError"), ({"dataset.json": "{"}, "TrainingDataError"),
     ({"dataset.json": '{"labels": [1]}'}, "TrainingDataError"),
     ({"a.nrrd": "", "b.seg.nrrd": ""}, "TrainingDataError")],
)  # fmt: skip
def test_folders_without_cases(lib, tmp_path, content, kind):
    folder = tmp_path / "data"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)
    with pytest.raises(Exception) as caught:
        lib.FolderCases.fromFolder(folder)
    assert type(caught.value).__name__ == kind and str(folder) in caught.value.message and caught.value.remedy
