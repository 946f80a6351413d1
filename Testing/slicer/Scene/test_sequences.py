"""Volumes that change over time: results that follow the time slider, and undo of them."""

import numpy as np
import pytest
from example_engines import ScriptedEngine
from example_nodes import LIVER, OBLIQUE, SHAPE, SPLEEN, twoLabels

STRUCTURES = [LIVER, SPLEEN]
FRAMES = [np.roll(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), n, axis=2) for n in range(3)]
LABELS = [np.roll(twoLabels(), n, axis=2) for n in range(3)]


@pytest.fixture(autouse=True)
def temporaryFolder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.iterdir())


@pytest.fixture
def beating(nodes):
    """Proxy node of three time points, of which the second is shown."""
    volumeNode = nodes.addSequence(FRAMES, axes=OBLIQUE)
    show(nodes, 1)
    return volumeNode


def browser(nodes):
    return nodes.slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")[0]


def show(nodes, item):
    browser(nodes).SetSelectedItemNumber(item)
    nodes.slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser(nodes))


def nodeIds(nodes):
    nodes.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(nodes.scene)  # exists in each application scene
    return [nodes.scene.GetNthNode(n).GetID() for n in range(nodes.scene.GetNumberOfNodes())]


def start(lib, volumeNode, segmentationNode=None, **options):
    engine, events = ScriptedEngine(), []
    job = lib.SegmentJob.start(
        engine, volumeNode, "torso", segmentationNode, onProgress=events.append,
        onError=lambda job, error: events.append(error), **options,
    )  # fmt: skip
    return engine, job, events


def segmentAll(lib, volumeNode, segmentationNode=None, **options):
    engine, job, _ = start(lib, volumeNode, segmentationNode, timePoints="all", **options)
    for frame, labels in zip(FRAMES, LABELS, strict=True):
        assert np.array_equal(engine.last.voxels(), frame)
        engine.last.answer(labels, STRUCTURES)
    assert job.state == "done" and len(engine.requests) == 3
    return job.segmentationNode


def labelsNow(lib, volumeNode, segmentationNode, values=(1, 5)):
    """The segments liver and spleen that are shown, with their label values."""
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.GetSegmentIdBySegmentName(name) for name in ("liver", "spleen")]
    exported = lib.LabelExport.exportLabels(volumeNode, segmentationNode, ids)
    return np.array([0, *values], np.uint8)[exported]


def test_time_points_are_counted(lib, nodes, beating):
    assert lib.Sequences.timePoints(beating) == 3
    assert lib.Sequences.timePoints(nodes.addVolume()) == 1
    values = [value for value, _ in lib.Sequences.items(beating)]
    assert values == ["0.0", "2.5", "5.0"]


@pytest.mark.parametrize("transformed", [False, True], ids=["untransformed", "transformed"])
def test_all_time_points(lib, nodes, beating, transformed):
    if transformed:
        beating.SetAndObserveTransformNodeID(nodes.addTransform().GetID())
    node = segmentAll(lib, beating)
    assert browser(nodes).GetSelectedItemNumber() == 1  # the time slider was not moved
    for item, labels in enumerate(LABELS):
        show(nodes, item)
        assert np.array_equal(labelsNow(lib, beating, node), labels)
    sequence = browser(nodes).GetSequenceNode(node)
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("time", "s")
    assert [sequence.GetNthIndexValue(n) for n in range(3)] == ["0.0", "2.5", "5.0"]
    assert node.GetParentTransformNode() is beating.GetParentTransformNode()
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is beating
    segment = node.GetSegmentation().GetSegment(node.GetSegmentation().GetSegmentIdBySegmentName("liver"))
    assert segment.GetTerminology() == LIVER["terminology"] and np.allclose(segment.GetColor(), LIVER["color"])


def test_corrections_are_kept_when_the_time_slider_moves(lib, nodes, beating):
    node = segmentAll(lib, beating)
    correction = LABELS[1].copy()
    correction[0, 5, 6] = 1
    lib.LabelImport.importLabels(beating, correction, STRUCTURES, node)
    show(nodes, 2)
    assert np.array_equal(labelsNow(lib, beating, node), LABELS[2])
    show(nodes, 1)
    assert np.array_equal(labelsNow(lib, beating, node), correction)


def test_current_time_point_only(lib, nodes, beating):
    engine, job, _ = start(lib, beating)
    assert np.array_equal(engine.last.voxels(), FRAMES[1])
    engine.last.answer(LABELS[1], STRUCTURES)
    assert len(engine.requests) == 1
    assert np.array_equal(labelsNow(lib, beating, job.segmentationNode), LABELS[1])
    assert browser(nodes).GetSequenceNode(job.segmentationNode) is None


def test_current_time_point_of_a_segmentation_that_follows(lib, nodes, beating):
    """The result belongs to the time point that was shown at the start, wherever the slider is at the end."""
    node = segmentAll(lib, beating)
    engine, _, _ = start(lib, beating, node, uncertainty=True)
    show(nodes, 2)
    replaced = np.flip(LABELS[1], axis=0).copy()
    engine.last.answer(replaced, STRUCTURES, np.full(SHAPE, 0.5, np.float32))
    for item, labels in enumerate([LABELS[0], replaced, LABELS[2]]):
        show(nodes, item)
        assert np.array_equal(labelsNow(lib, beating, node), labels)
    assert lib.SegmentationHistory.undo(node)
    for item, labels in enumerate(LABELS):
        show(nodes, item)
        assert np.array_equal(labelsNow(lib, beating, node), labels)


@pytest.mark.parametrize("existing", ["replace", "add"])
def test_segments_of_a_still_segmentation_are_kept_at_all_time_points(lib, nodes, beating, existing):
    drawing = np.zeros(SHAPE, np.uint8)
    drawing[2, 3:, :4] = 1
    still = lib.LabelImport.importLabels(beating, drawing, [{"id": 1, "name": "tumour"}])
    before = nodeIds(nodes)
    node = segmentAll(lib, beating, still, existingSegments=existing)
    assert node is still
    for item, labels in enumerate(LABELS):
        show(nodes, item)
        assert np.array_equal(labelsNow(lib, beating, node), labels)
        tumour = node.GetSegmentation().GetSegmentIdBySegmentName("tumour")
        assert np.array_equal(lib.LabelExport.exportLabels(beating, node, [tumour]), drawing)
    assert lib.SegmentationHistory.undo(still)
    assert nodeIds(nodes) == before and nodes.segmentNames(still) == ["tumour"]
    assert browser(nodes).GetSequenceNode(still) is None
    assert np.array_equal(lib.LabelExport.exportLabels(beating, still, nodes.segmentIds(still)), drawing)


def test_undo_of_new_sequences(lib, nodes, beating):
    before = nodeIds(nodes)
    node = segmentAll(lib, beating)
    assert len(nodeIds(nodes)) == len(before) + 3  # segmentation, its display, its sequence
    assert lib.SegmentationHistory.undo(node)
    assert nodeIds(nodes) == before
    assert browser(nodes).GetNumberOfSynchronizedSequenceNodes(True) == 1


def test_uncertainty_follows_too(lib, nodes, beating):
    engine, job, _ = start(lib, beating, timePoints="all", uncertainty=True)
    maps = [np.full(SHAPE, level, np.float32) for level in (0.25, 0.5, 0.75)]
    for labels, entropy in zip(LABELS, maps, strict=True):
        engine.last.answer(labels, STRUCTURES, entropy)
    for item, entropy in enumerate(maps):
        show(nodes, item)
        assert np.array_equal(nodes.slicer.util.arrayFromVolume(job.uncertaintyNode), entropy)
        ijkToRAS = lib.Geometry.ijkToRAS
        assert np.allclose(ijkToRAS(job.uncertaintyNode), ijkToRAS(beating))


@pytest.mark.parametrize("how", ["cancel", "failure", "sequence removed", "volume removed", "segmentation removed"])
def test_stop_on_the_way_leaves_the_scene_as_it_was(lib, nodes, beating, how):
    still = lib.LabelImport.importLabels(beating, twoLabels(), [SPLEEN, LIVER])
    engine, job, events = start(lib, beating, still, timePoints="all")
    engine.last.answer(LABELS[0], STRUCTURES)
    removed = {
        "sequence removed": browser(nodes).GetMasterSequenceNode(),
        "volume removed": beating,
        "segmentation removed": still,
    }
    before = nodeIds(nodes)
    if how in removed:
        nodes.scene.RemoveNode(removed[how])
    elif how == "cancel":
        job.cancel()
    else:
        engine.last.answer(LABELS[1][:-1], STRUCTURES)
    assert job.state == ("failed" if how == "failure" else "cancelled") and len(engine.requests) == 2
    assert events[-1].kind == ("GeometryError" if how == "failure" else "CancelledError")
    # Of the volume that was removed Slicer itself makes another proxy node.
    assert not [nodeId for nodeId in nodeIds(nodes) if nodeId not in before and "Volume" not in nodeId]
    assert nodes.segmentNames(still) == ["spleen", "liver"]
    if how not in removed:
        assert nodeIds(nodes) == before
        assert np.array_equal(labelsNow(lib, beating, still, values=(5, 1)), np.array([0, 5, 0, 0, 0, 1])[twoLabels()])


def test_nothing_found_at_any_time_makes_no_node(lib, nodes, beating):
    before = nodeIds(nodes)
    engine, job, _ = start(lib, beating, timePoints="all")
    for _ in FRAMES:
        engine.last.answer(np.zeros(SHAPE, np.uint8), STRUCTURES)
    assert (job.message, job.segmentationNode) == ("No structure was found.", None)
    assert nodeIds(nodes) == before


def test_progress_counts_over_all_time_points(lib, nodes, beating):
    engine, job, events = start(lib, beating, timePoints="all")
    engine.last.answer(LABELS[0], STRUCTURES)
    engine.last.sendProgress(
        {"stage": "segmenting", "fraction": 0.5, "done": 2, "total": 4, "rate": 20.0, "secondsLeft": 3.0}
    )
    assert events[-1]["fraction"] == pytest.approx(0.5)
    assert events[-1]["text"].startswith("Time point 2 of 3. Segmenting: 2 of 4 slices, about ")
    assert events[-1]["secondsLeft"] == pytest.approx(3 + job.seconds["engine"])
    job.cancel()


def test_segmentation_under_another_transform_is_refused(lib, nodes, beating):
    from SAM2AdaptLib.Engine.Error import EngineError

    still = lib.LabelImport.importLabels(beating, twoLabels(), STRUCTURES)
    still.SetAndObserveTransformNodeID(nodes.addTransform().GetID())
    with pytest.raises(EngineError, match="another transform"):
        start(lib, beating, still, timePoints="all")


def test_ordinary_volume_has_all_its_time_points_in_one(lib, nodes):
    engine, job, _ = start(lib, nodes.addVolume(), timePoints="all")
    engine.last.answer(twoLabels(), STRUCTURES)
    assert job.state == "done" and len(engine.requests) == 1
