"""Filling from segments to masks and back, with an engine that does what the test says."""

import numpy as np
import pytest
from example_engines import ScriptedEngine
from example_nodes import AXES_IJK_TO_RAS

SHAPE = (12, 20, 24)  # K, J, I


def disc(radius, center=(10, 12), shape=SHAPE[1:]):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def stack(places, radius=5, center=(10, 12)):
    mask = np.zeros(SHAPE, np.uint8)
    mask[list(places)] = disc(radius, center)
    return mask


FILLED = [3, 4, 5, 7, 8, 9]
DRAWN = {"heart": stack([2, 6, 10]), "wall": stack([2, 6, 10], 7)}  # the heart lies in the wall


@pytest.fixture(autouse=True)
def temporaryFolder(tmp_path, monkeypatch):
    """The temporary folder, which every job must leave empty."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    assert not list(tmp_path.iterdir())


@pytest.fixture
def drawn(lib, nodes):
    """A volume and a segmentation with two segments, one within the other, drawn in three slices."""
    return addDrawings(lib, nodes, DRAWN)


def addDrawings(lib, nodes, masks, **geometry):
    voxels = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    volumeNode = nodes.addVolume(voxels, **geometry)
    segmentationNode = None
    for name, mask in masks.items():
        segmentationNode = lib.LabelImport.importLabels(volumeNode, mask, [{"id": 1, "name": name}], segmentationNode)
    logic = nodes.slicer.vtkSlicerSegmentationsModuleLogic
    for segmentId in nodes.segmentIds(segmentationNode):
        logic.SetSegmentStatus(segmentationNode.GetSegmentation().GetSegment(segmentId), logic.NotStarted)
    return volumeNode, segmentationNode


class Run:
    """One job and what it reported."""

    def __init__(self, lib, volumeNode, segmentationNode, **options):
        self.engine, self.finished, self.errors, self.previews = ScriptedEngine(), [], [], []
        self.job = lib.FillJob.start(
            self.engine, volumeNode, segmentationNode, onPreview=lambda job: self.previews.append(job.masks.copy()),
            onFinished=self.finished.append, onError=lambda job, error: self.errors.append(error), **options,
        )  # fmt: skip

    @property
    def params(self):
        return self.engine.last.params

    def drawings(self):
        return np.load(self.params["drawings"])

    def preview(self, masks):
        np.save(self.params["preview"], masks)
        self.engine.last.sendPreview({"id": 1, "masks": self.params["preview"]})

    def answer(self, masks, **changes):
        np.save(self.params["masks"], masks)
        structures = [{"name": name, "filled": FILLED} for name in self.params["structures"]]
        report = {
            "output": self.params["masks"], "expectedDice": 0.914, "nextSlice": 8, "axis": "K", "warnings": [],
            "structures": structures,
        }  # fmt: skip
        self.engine.last.sendResult(report | changes)
        return self.job


def filled(masks):
    """The slices 2 to 10 as they are drawn in slice 2."""
    masks = masks.copy()
    masks[:, 3:10] = masks[:, 2:3]
    return masks


def read(lib, job_or_nodes):
    volumeNode, segmentationNode = job_or_nodes
    grid = lib.SegmentMasks.drawingGrid(volumeNode, segmentationNode)
    ids = list(segmentationNode.GetSegmentation().GetSegmentIDs())
    return lib.SegmentMasks.read(segmentationNode, ids, grid)


def failure(lib, *arguments, **options):
    with pytest.raises(lib.Error.EngineError) as caught:
        lib.FillJob.start(ScriptedEngine(), *arguments, **options)
    return str(caught.value)


def test_engine_gets_each_structure_where_it_is_drawn(lib, drawn):
    run = Run(lib, *drawn)
    assert run.engine.last.method == "fill"
    assert np.array_equal(run.drawings(), list(DRAWN.values()))
    assert run.params["structures"] == ["heart", "wall"] and run.params["empty"] == {} and run.params["axis"] is None
    run.job.cancel()


@pytest.mark.parametrize("axes", AXES_IJK_TO_RAS.values(), ids=AXES_IJK_TO_RAS.keys())
def test_filled_slices_are_added_and_overlap_is_kept(lib, nodes, axes):
    pair = addDrawings(lib, nodes, DRAWN, axes=axes)
    transformId = nodes.addTransform().GetID()
    for node in pair:
        node.SetAndObserveTransformNodeID(transformId)
    run = Run(lib, *pair)
    answer = filled(run.drawings())
    run.preview(answer)
    assert np.array_equal(run.previews[0], answer)
    assert np.array_equal(read(lib, pair), list(DRAWN.values()))  # nothing changes before apply
    job = run.answer(answer)
    assert run.finished == [job] and job.message == "Expected accuracy 0.91; drawing slice 9 would help most."
    assert job.nextSlice == ("K", 8) and job.expectedDice == 0.914
    assert job.apply() is pair[1]
    assert np.array_equal(read(lib, pair), answer)
    assert lib.SegmentationHistory.undo(pair[1])
    assert np.array_equal(read(lib, pair), list(DRAWN.values()))
    assert not lib.SegmentationHistory.canUndo(pair[1])


def test_filling_again_after_apply_starts_from_what_was_drawn_by_hand(lib, drawn):
    node = drawn[1]
    run = Run(lib, *drawn)
    answer = filled(run.drawings())
    run.answer(answer).apply()
    again = Run(lib, *drawn)
    assert np.array_equal(again.drawings(), list(DRAWN.values()))
    assert again.job.drawings.notes == [
        "Slices that were filled earlier are filled anew; those that you corrected count as drawn."
    ]
    smaller = again.drawings()
    smaller[:, FILLED] = disc(2)  # where the former answer had more
    again.answer(smaller).apply()
    assert np.array_equal(read(lib, drawn), smaller)
    assert lib.SegmentationHistory.undo(node)
    assert np.array_equal(read(lib, drawn), answer)

    corrected = stack([8], 1, (3, 3))
    heart = node.GetSegmentation().GetSegmentIDs()[0]
    lib.SegmentMasks.add(node, heart, corrected, lib.SegmentMasks.drawingGrid(*drawn))
    after = Run(lib, *drawn)
    expected = np.stack(list(DRAWN.values()))
    expected[0, 8] = answer[0, 8] | corrected[8]
    assert np.array_equal(after.drawings(), expected)
    after.job.cancel()


def test_what_was_filled_earlier_stays_where_a_later_answer_fills_no_whole_slice(lib, drawn):
    run = Run(lib, *drawn)
    answer = filled(run.drawings())
    run.answer(answer).apply()
    again = Run(lib, *drawn)
    partly = again.drawings()
    partly[:, 3, :10] = disc(9)[:10]  # as a region of interest cuts it
    structures = [{"name": name, "filled": [4]} for name in DRAWN]
    again.answer(partly, structures=structures).apply()
    expected = answer | partly
    expected[:, 4] = partly[:, 4]
    assert np.array_equal(read(lib, drawn), expected)


def test_segments_that_share_a_label_map_overlap_after_filling_as_the_answer_does(lib, nodes):
    volumeNode = nodes.addVolume(np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32))
    labels = stack([2, 10], 4, (10, 7)) + 2 * stack([4, 8], 4, (10, 13))
    structures = [{"id": 1, "name": "left"}, {"id": 2, "name": "right"}]
    node = lib.LabelImport.importLabels(volumeNode, labels, structures)
    node.CreateClosedSurfaceRepresentation()
    run = Run(lib, volumeNode, node)
    answer = run.drawings()
    answer[0, 3:10] = disc(6, (10, 7))
    answer[1, 5:8] = disc(6, (10, 13))
    run.answer(answer).apply()
    assert np.array_equal(read(lib, (volumeNode, node)), answer) and (answer[0] & answer[1]).any()
    surface = nodes.slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    ids = nodes.segmentIds(node)
    assert all(node.GetSegmentation().GetSegment(segmentId).GetRepresentation(surface) for segmentId in ids)
    segment = node.GetSegmentation().GetSegment(ids[0])
    assert segment.GetRepresentation(surface).GetBounds()[5] - segment.GetRepresentation(surface).GetBounds()[4] > 20


def test_hidden_and_completed_segments_stay_and_are_said(lib, nodes):
    masks = DRAWN | {"hidden": stack([1, 5], 3), "done": stack([1, 5], 2)}
    pair = addDrawings(lib, nodes, masks)
    ids = dict(zip(nodes.segmentNames(pair[1]), nodes.segmentIds(pair[1]), strict=True))
    pair[1].GetDisplayNode().SetSegmentVisibility(ids["hidden"], False)
    logic = nodes.slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(pair[1].GetSegmentation().GetSegment(ids["done"]), logic.Completed)
    run = Run(lib, *pair)
    assert run.params["structures"] == ["heart", "wall"]
    assert run.job.drawings.notes == [
        "'hidden' is hidden and left as it is.", "'done' is marked as completed and left as it is."
    ]  # fmt: skip
    run.answer(filled(run.drawings())).apply()
    assert np.array_equal(read(lib, pair)[2:], [masks["hidden"], masks["done"]])


def test_segments_of_one_name_are_told_apart(lib, nodes, drawn):
    for segmentId in nodes.segmentIds(drawn[1]):
        drawn[1].GetSegmentation().GetSegment(segmentId).SetName("heart")
    run = Run(lib, *drawn)
    assert run.params["structures"] == ["heart", "heart (2)"]
    run.job.cancel()


def test_strokes_and_sphere_brushes_are_said(lib, nodes):
    stroke = stack([2, 5, 8])
    stroke[5] = 0
    stroke[5, 10, 8:14] = 1
    brush = stack([5], 6) + stack([4, 6], 3) + stack([10], 6)
    whole = stack([3, 4, 5, 9], 6)  # neighbouring slices, drawn one by one
    run = Run(lib, *addDrawings(lib, nodes, {"a": stroke, "b": brush, "c": whole}))
    notes = run.job.drawings.notes
    assert len(notes) == 2
    assert notes[0].startswith("Slice 6 of 'a' looks like a stroke")
    assert notes[1].startswith("Slices 5 to 7 of 'b' look as if a sphere brush")
    run.job.cancel()


def test_declared_empty_slices_are_sent_and_saved_with_the_segment(lib, nodes, drawn):
    heart = nodes.segmentIds(drawn[1])[0]
    lib.SliceTags.setEmpty(drawn[1], heart, "K", [4, 0, 6])  # 6 is drawn since: the drawing counts
    copy = nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    copy.GetSegmentation().DeepCopy(drawn[1].GetSegmentation())
    assert lib.SliceTags.empty(copy, heart, "K") == [0, 4, 6]
    run = Run(lib, *drawn)
    assert run.params["empty"] == {"heart": [0, 4]} and run.params["axis"] == "K"
    answer = filled(run.drawings())  # fills slice 4 of the heart
    run.answer(answer)
    assert "changed slices that were drawn" in str(run.errors[0])


def test_region_in_voxels_of_what_is_sent(lib, nodes, drawn):
    """Of the volume, or of the segmentation where that has voxels of its own; both under a transform."""
    transform = nodes.addTransform().GetID()
    for node in drawn:
        node.SetAndObserveTransformNodeID(transform)
    fine = np.repeat(nodes.slicer.util.arrayFromVolume(drawn[0]), 2, axis=0)
    other = nodes.addVolume(fine, spacing=(0.7, 0.9, 1.5), origin=(12.5, -40.0, 6.5), name="fine")
    other.SetAndObserveTransformNodeID(transform)
    grid = lib.SegmentMasks.drawingGrid(*drawn)
    slices = lib.Drawings.slicesAcross("K", grid, drawn[1])
    ends = [slices.position(place) for place in (4, 7)]
    region = nodes.addRegion(np.mean(ends, 0), (0.5,) * 3)
    boxes = []
    for volumeNode in (drawn[0], other):
        run = Run(lib, volumeNode, drawn[1], roiNode=region)
        boxes.append(run.params["roi"])
        assert len(run.params["roi"]) == 6 and run.params["roi"][4:] == [5, 7]
        run.job.cancel()
    assert boxes[0] == boxes[1]
    run = Run(lib, *drawn)
    assert run.params["roi"] is None
    run.job.cancel()
    far = nodes.addRegion((900, 900, 900), (5.0,) * 3)
    assert "lies outside volume 'CT'" in failure(lib, *drawn, roiNode=far)


def test_directions_have_names_whatever_the_axes(lib, nodes):
    sagittal = addDrawings(lib, nodes, DRAWN, axes=AXES_IJK_TO_RAS["sagittal PIL"])
    grid = lib.SegmentMasks.drawingGrid(*sagittal)
    assert lib.Drawings.drawnAxis(read(lib, sagittal), grid) == "K"
    slices = lib.Drawings.slicesAcross("K", grid, sagittal[1])
    assert slices.name == "sagittal" and slices.count == SHAPE[0]
    assert lib.Drawings.axisOf("axial", grid, sagittal[1]) == "J"
    assert slices.at(slices.position(7)) == 7 and slices.at(slices.position(SHAPE[0])) is None
    run = Run(lib, *sagittal, direction="sagittal")
    assert run.params["axis"] == "K"
    run.job.cancel()


def test_drawings_on_a_grid_of_their_own_are_filled_on_it(lib, nodes, drawn):
    """A volume of half the slice distance: the drawings keep their voxels, the volume is interpolated onto these."""
    fine = np.repeat(nodes.slicer.util.arrayFromVolume(drawn[0]), 2, axis=0)
    volumeNode = nodes.addVolume(fine, spacing=(0.7, 0.9, 1.5), origin=(12.5, -40.0, 6.5), name="fine")
    run = Run(lib, volumeNode, drawn[1])
    assert np.array_equal(run.drawings(), list(DRAWN.values()))
    voxels = np.load(run.params["input"]["array"])
    assert voxels.shape == SHAPE and run.params["input"]["spacing"] == pytest.approx([0.7, 0.9, 3.0])
    assert np.allclose(voxels, nodes.slicer.util.arrayFromVolume(drawn[0]), atol=1e-3)
    answer = filled(run.drawings())
    run.answer(answer).apply()
    assert np.array_equal(read(lib, drawn), answer)


def test_nothing_is_started_without_drawings_for_this_volume(lib, nodes, drawn):
    volumeNode, segmentationNode = drawn
    far = nodes.addVolume(np.zeros(SHAPE, np.int16), origin=(500, 0, 0), name="far")
    assert "lie outside volume 'far'. Choose the volume" in failure(lib, far, segmentationNode)
    empty = nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    assert "No structure of 'empty' is drawn in any slice. Draw" in failure(lib, volumeNode, empty)
    segmentationNode.CreateDefaultDisplayNodes()
    segmentationNode.GetDisplayNode().SetAllSegmentsVisibility(False)
    assert "'heart' is hidden and left as it is." in failure(lib, volumeNode, segmentationNode)
    assert "Only one slice is drawn of 'a', 'b'. Draw" in failure(
        lib, *addDrawings(lib, nodes, {"a": stack([5]), "b": stack([7])})
    )
    nodes.scene.RemoveNode(volumeNode)
    assert "'CT' is not in the scene." in failure(lib, volumeNode, segmentationNode)
    assert "No volume was chosen. Choose" in failure(lib, None, segmentationNode)
    assert "No segmentation was chosen. Choose" in failure(lib, far, None)


def test_what_was_drawn_meanwhile_is_not_overwritten(lib, nodes, drawn):
    run = Run(lib, *drawn)
    job = run.answer(filled(run.drawings()))
    grid = job.drawings.grid
    lib.SegmentMasks.add(drawn[1], nodes.segmentIds(drawn[1])[0], stack([8], 3), grid)
    before = read(lib, drawn)
    assert job.isOutdated()
    with pytest.raises(lib.Error.EngineError, match=r"changed since they were filled\. Fill again"):
        job.apply()
    assert np.array_equal(read(lib, drawn), before)


def test_a_volume_that_changes_ends_the_job(lib, nodes, drawn):
    run = Run(lib, *drawn)
    masks = filled(run.drawings())
    nodes.slicer.util.updateVolumeFromArray(drawn[0], np.zeros(SHAPE, np.float32))
    run.answer(masks)
    assert str(run.errors[0]) == "Volume 'CT' changed while it was in use. Start again."
    assert np.array_equal(read(lib, drawn), list(DRAWN.values()))


@pytest.mark.parametrize("removed", [0, 1], ids=["volume", "segmentation"])
def test_a_removed_node_ends_the_job_and_keeps_the_engine(lib, nodes, drawn, removed):
    run = Run(lib, *drawn)
    nodes.scene.RemoveNode(drawn[removed])
    assert run.job.state == "cancelled" and run.engine.last.isCancelled
    assert "was removed while it was in use. Nothing was changed." in str(run.errors[0])


def test_an_answer_that_changes_drawn_voxels_is_refused(lib, drawn):
    run = Run(lib, *drawn)
    masks = filled(run.drawings())
    masks[0, 6, 10, 12] = 0
    run.answer(masks)
    assert run.errors[0].kind == "Defect" and run.job.state == "failed"
    assert np.array_equal(read(lib, drawn), list(DRAWN.values()))


def test_an_answer_that_adds_to_a_drawn_slice_is_refused(lib, drawn):
    run = Run(lib, *drawn)
    masks = filled(run.drawings())
    masks[0, 6, 1, 1] = 1
    run.answer(masks)
    assert run.errors[0].kind == "Defect"
    assert np.array_equal(read(lib, drawn), list(DRAWN.values()))


def test_slices_of_two_directions_at_once(lib, nodes):
    """Those of K and of J cross in lines, which do not count as drawn slices of the other direction."""
    ball = np.zeros(SHAPE, np.uint8)
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    whole = ((k - 6) / 5.5) ** 2 + ((j - 10) / 8) ** 2 + ((i - 12) / 8) ** 2 < 1
    ball[[2, 6, 10]], ball[:, [5, 10, 15]] = whole[[2, 6, 10]], whole[:, [5, 10, 15]]
    pair = addDrawings(lib, nodes, {"ball": ball})
    lib.SliceTags.setEmpty(pair[1], nodes.segmentIds(pair[1])[0], "K", [0])
    run = Run(lib, *pair)
    assert run.params["axis"] is None and run.params["empty"] == {}
    assert run.job.drawings.slices == [{0: [2, 6, 10], 1: [5, 10, 15]}]
    assert len(run.job.drawings.notes) == 1 and "declared empty of 'ball' are not used" in run.job.drawings.notes[0]
    answer = np.array([whole.astype(np.uint8)])
    run.answer(answer).apply()
    assert np.array_equal(read(lib, pair), answer)


def test_other_segments_are_checked_and_a_failed_apply_is_undone(lib, nodes, drawn, monkeypatch):
    run = Run(lib, *drawn)
    job = run.answer(filled(run.drawings()))
    monkeypatch.setattr(lib.SegmentMasks, "add", lambda node, segmentId, mask, grid: None)
    with pytest.raises(lib.Error.EngineError, match="did not receive"):
        job.apply()
    assert np.array_equal(read(lib, drawn), list(DRAWN.values()))
    assert not lib.SegmentationHistory.canUndo(drawn[1])


def test_state_is_saved_by_the_caller_instead(lib, drawn):
    run = Run(lib, *drawn)
    saved = []
    run.answer(filled(run.drawings())).apply(lambda: saved.append(read(lib, drawn)))
    assert np.array_equal(saved, [list(DRAWN.values())]) and not lib.SegmentationHistory.canUndo(drawn[1])


def test_the_engine_fills_and_says_what_it_cannot_fill(lib, nodes, servedEngine):
    """The real engine: discs that grow from slice to slice, and drawings from which nothing can be filled."""
    truth = np.stack([disc(3 + 0.4 * k) for k in range(SHAPE[0])]).astype(np.uint8)
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[[0, 4, 8, 11]] = truth[[0, 4, 8, 11]]
    volumeNode, segmentationNode = addDrawings(lib, nodes, {"disc": drawn, "once": stack([5], 2)})
    voxels = nodes.slicer.util.arrayFromVolume(volumeNode)
    voxels += 200 * truth
    nodes.slicer.util.arrayFromVolumeModified(volumeNode)
    previews, errors = [], []
    options = {"onPreview": previews.append, "onError": lambda job, error: errors.append(str(error))}
    job = lib.FillJob.start(servedEngine, volumeNode, segmentationNode, **options)
    servedEngine.run()
    assert job.state == "done", errors
    assert previews == [job] and job.expectedDice > 0.8 and job.nextSlice[0] == "K"
    assert job.drawings.notes == ["'once' is drawn in one slice only and stays as it is; draw a second one."]
    job.apply()
    result = read(lib, (volumeNode, segmentationNode))
    assert np.array_equal(result[1], stack([5], 2))
    assert 2 * (result[0] & truth).sum() / (result[0].sum() + truth.sum()) > 0.9

    crossed = stack([2, 6, 10], 8, (10, 8))
    crossed[:, [6, 10, 14]] |= stack(range(SHAPE[0]), 8, (10, 16))[:, [6, 10, 14]]
    for mask, voxel, sentence in (
        (stack([4, 5, 6]), 0, "everything is drawn already"),
        (crossed, 0, "contradict each other"),
        (stack([2, 6, 10]), np.nan, "1 NaN"),
    ):
        errors.clear()
        masks = {"a": mask}
        pair = addDrawings(lib, nodes, masks)
        nodes.slicer.util.arrayFromVolume(pair[0])[0, 0, 0] = voxel
        nodes.slicer.util.arrayFromVolumeModified(pair[0])
        lib.FillJob.start(servedEngine, *pair, **options)
        servedEngine.run()
        assert len(errors) == 1 and sentence in errors[0]
        assert np.array_equal(read(lib, pair), list(masks.values()))
