"""What was filled becomes training data: which slices are annotated, which weigh less, which say nothing."""

import json

import numpy as np
import pytest
from example_engines import ScriptedEngine

SHAPE = (12, 20, 24)  # K, J, I
FILLED = [3, 4, 5, 7, 8, 9]


def stack(places, radius=5):
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    mask = np.zeros(SHAPE, np.uint8)
    mask[list(places)] = (rows - 10) ** 2 + (columns - 12) ** 2 <= radius**2
    return mask


def draw(lib, nodes, masks, volumeNode=None):
    """A volume and a segmentation that is drawn on it."""
    volumeNode = volumeNode or nodes.addVolume(np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32))
    segmentationNode = None
    for name, mask in masks.items():
        structure = [{"id": 1, "name": name}]
        segmentationNode = lib.LabelImport.importLabels(volumeNode, mask, structure, segmentationNode)
    logic = nodes.slicer.vtkSlicerSegmentationsModuleLogic
    for segmentId in nodes.segmentIds(segmentationNode):
        logic.SetSegmentStatus(segmentationNode.GetSegmentation().GetSegment(segmentId), logic.NotStarted)
    return volumeNode, segmentationNode


def fill(lib, pair, filled=None):
    """Fill the slices between drawn ones, and apply; the engine says of each structure which were filled."""
    engine = ScriptedEngine()
    job = lib.FillJob.start(engine, *pair)
    params = engine.last.params
    masks = np.load(params["drawings"])
    filled = filled or dict.fromkeys(params["structures"], FILLED)
    for mask, places in zip(masks, filled.values(), strict=True):
        mask[places] = mask[2]
    np.save(params["masks"], masks)
    structures = [{"name": name, "filled": places} for name, places in filled.items()]
    engine.last.sendResult(
        {"output": params["masks"], "expectedDice": 0.9, "nextSlice": None, "axis": "K", "structures": structures}
    )
    job.apply()
    return job


@pytest.fixture
def pair(lib, nodes):
    return draw(lib, nodes, {"heart": stack([2, 6, 10]), "wall": stack([2, 6, 10], 7)})


def test_drawn_and_filled_slices_are_told_apart(lib, nodes, pair, tmp_path):
    fill(lib, pair)
    case = lib.Cases.SceneCase(*pair)
    assert case.problems == [] and case.annotatedSlices == list(range(2, 11)) and case.filledSlices == FILLED
    assert not case.isWhole and "3 slices are drawn; 6 were filled" in case.notes[-1]
    (name,) = lib.CaseFiles.write([case], lib.Classes.match([case]), tmp_path)
    beside = json.loads((tmp_path / "labels" / f"{name}.drawn.json").read_text(encoding="utf-8"))
    assert beside == {"K": [2, 6, 10]}
    labels = nodes.slicer.vtkMRMLVolumeArchetypeStorageNode()
    node = nodes.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    labels.SetFileName(str(tmp_path / "labels" / f"{name}.nrrd"))
    assert labels.ReadData(node)
    array = nodes.slicer.util.arrayFromVolume(node)
    assert (array[[0, 1, 11]] == 255).all() and (array[2:11] < 255).all()


def test_a_corrected_slice_counts_as_drawn(lib, nodes, pair):
    fill(lib, pair)
    ids, grid = nodes.segmentIds(pair[1]), lib.SegmentMasks.drawingGrid(*pair)
    for segmentId in ids:
        lib.SegmentMasks.add(pair[1], segmentId, stack([4], 8), grid)
    case = lib.Cases.SceneCase(*pair)
    assert case.filledSlices == [3, 5, 7, 8, 9] and case.annotatedSlices == list(range(2, 11))
    copy = nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.GetSegmentation().DeepCopy(pair[1].GetSegmentation())
    assert lib.Cases.SceneCase(pair[0], copy).filledSlices == [3, 5, 7, 8, 9]


def test_undo_forgets_the_filling(lib, pair):
    fill(lib, pair)
    lib.SegmentationHistory.undo(pair[1])
    case = lib.Cases.SceneCase(*pair)
    assert case.filledSlices is None and not lib.SliceTags.isFilled(pair[1])


def test_slices_filled_earlier_stay_filled(lib, nodes, pair):
    fill(lib, pair, {"heart": [3, 4, 5], "wall": [3, 4, 5]})
    fill(lib, pair, {"heart": [7, 8, 9], "wall": [7, 8, 9]})
    assert lib.Cases.SceneCase(*pair).filledSlices == FILLED


def test_a_slice_in_which_a_structure_was_not_filled_is_not_annotated(lib, nodes):
    pair = draw(lib, nodes, {"heart": stack([2, 6, 10]), "cyst": stack([2, 6], 3)})
    fill(lib, pair, {"heart": FILLED, "cyst": [3, 4, 5]})
    case = lib.Cases.SceneCase(*pair)
    assert case.annotatedSlices == [2, 3, 4, 5, 6, 10] and case.filledSlices == [3, 4, 5]
    lib.SliceTags.setEmpty(pair[1], nodes.segmentIds(pair[1])[1], "K", [7])
    assert lib.Cases.SceneCase(*pair).annotatedSlices == [2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_everything_annotated_is_the_users_word(lib, pair):
    fill(lib, pair)
    lib.Cases.setWhole(pair[1], True)
    case = lib.Cases.SceneCase(*pair)
    assert case.annotatedSlices == list(range(12)) and case.filledSlices is None


@pytest.mark.parametrize("step", [1.5, 6.0], ids=["finer", "coarser"])
def test_a_volume_of_another_slice_distance(lib, nodes, pair, tmp_path, step):
    """The drawings lie on slices of 3 mm; those of the volume count by where their middle lies."""
    fill(lib, pair)
    factor = step / 3
    volumeNode = nodes.addVolume(
        np.random.default_rng(1).normal(size=(int(12 / factor), *SHAPE[1:])).astype(np.float32),
        spacing=(0.7, 0.9, step), origin=(12.5, -40.0, 7.25), name="other",
    )  # fmt: skip
    case = lib.Cases.SceneCase(volumeNode, pair[1])
    assert case.problems == []
    places = np.rint(np.arange(case.sliceCount) * factor).astype(int)
    assert case.annotatedSlices == [k for k, place in enumerate(places) if 2 <= place <= 10]
    assert case.filledSlices == [k for k, place in enumerate(places) if place in FILLED]
    (name,) = lib.CaseFiles.write([case], lib.Classes.match([case]), tmp_path)
    beside = json.loads((tmp_path / "labels" / f"{name}.drawn.json").read_text(encoding="utf-8"))
    assert beside == {"K": [k for k, place in enumerate(places) if place in (2, 6, 10)]}


def test_filled_across_another_axis_than_the_slices_of_training(lib, nodes, tmp_path):
    """Coronal drawings on thick axial slices: each axial slice holds drawn lines, filled ones and unknown ones."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:9, [4, 8, 12], 6:18] = 1
    pair = draw(lib, nodes, {"organ": mask})
    engine = ScriptedEngine()
    direction = lib.Drawings.slicesAcross("J", lib.SegmentMasks.drawingGrid(*pair), pair[1]).name
    job = lib.FillJob.start(engine, *pair, direction=direction)
    params = engine.last.params
    assert params["axis"] == "J"
    masks = np.load(params["drawings"])
    masks[0, 2:9, 4:13, 6:18] = 1
    np.save(params["masks"], masks)
    filled = [5, 6, 7, 9, 10, 11]
    engine.last.sendResult(
        {"output": params["masks"], "expectedDice": 0.9, "nextSlice": None, "axis": "J",
         "structures": [{"name": "organ", "filled": filled}]}
    )  # fmt: skip
    job.apply()
    case = lib.Cases.SceneCase(*pair)
    assert case.axis == 2 and case.annotatedSlices == list(range(12)) == case.filledSlices
    (name,) = lib.CaseFiles.write([case], lib.Classes.match([case]), tmp_path)
    assert json.loads((tmp_path / "labels" / f"{name}.drawn.json").read_text(encoding="utf-8")) == {"J": [4, 8, 12]}
    labels = lib.FolderCases.readVolume(tmp_path / "labels" / f"{name}.nrrd", "vtkMRMLLabelMapVolumeNode")
    array = nodes.slicer.util.arrayFromVolume(labels)
    assert (array[:, :4] == 255).all() and (array[:, 13:] == 255).all() and (array[:, 4:13] < 255).all()


def test_a_folder_that_says_what_was_drawn_keeps_saying_it(lib, nodes, pair, tmp_path):
    fill(lib, pair)
    case = lib.Cases.SceneCase(*pair)
    classes = lib.Classes.match([case])
    lib.CaseFiles.write([case], classes, tmp_path)
    cases = lib.FolderCases.fromFolder(tmp_path, {entry.id: entry.name for entry in classes})
    (tmp_path / "run").mkdir()
    (name,) = lib.CaseFiles.write(cases, lib.Classes.match(cases), tmp_path / "run")
    beside = json.loads((tmp_path / "run" / "labels" / f"{name}.drawn.json").read_text(encoding="utf-8"))
    assert beside == {"K": [2, 6, 10]}
