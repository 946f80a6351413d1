"""A run from node to segmentation, with an engine that does what the test says: results, faults, cancels, removals."""

import numpy as np
import pytest
from example_engines import ScriptedEngine
from example_nodes import AXES_IJK_TO_RAS, LIVER, SHAPE, SPLEEN, inOrder, rotation, twoLabels

STRUCTURES = [LIVER, SPLEEN]


class Run:
    """One job and what it reported."""

    def __init__(self, lib, volumeNode, segmentationNode=None, **options):
        self.engine, self.finished, self.errors, self.progress = ScriptedEngine(), [], [], []
        self.job = lib.SegmentJob.start(
            self.engine, volumeNode, "torso", segmentationNode, onFinished=self.finished.append,
            onError=lambda job, error: self.errors.append(error), onProgress=self.progress.append, **options,
        )  # fmt: skip

    def answer(self, labels=None, structures=STRUCTURES, **outputs):
        self.engine.last.answer(twoLabels() if labels is None else labels, structures, **outputs)
        return self.job


@pytest.fixture(autouse=True)
def temporaryFolder(tmp_path, monkeypatch):
    """The temporary folder, which every run must leave empty."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    assert not list(tmp_path.iterdir())


@pytest.fixture
def drawn(lib, nodes):
    """Volume and segmentation: tumour and liver that a user drew, in one shared label map."""
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[1:4, 2:5, 2:6], voxels[4] = 1, 2
    volumeNode = nodes.addVolume()
    names = [{"id": 1, "name": "tumour"}, {"id": 2, "name": "liver"}]
    return volumeNode, lib.LabelImport.importLabels(volumeNode, voxels, names)


def state(nodes):
    """All nodes with their modification times, and the label maps of all segmentations, byte for byte."""
    nodes.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(nodes.scene)  # exists in each application scene
    everything = [nodes.scene.GetNthNode(n) for n in range(nodes.scene.GetNumberOfNodes())]
    return [(node.GetID(), node.GetName(), node.GetMTime(), voxelsOf(nodes, node)) for node in everything]


def voxelsOf(nodes, node):
    if not node.IsA("vtkMRMLSegmentationNode"):
        return None
    return [
        nodes.slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segmentId).tobytes()
        for segmentId in nodes.segmentIds(node)
    ]


def labelsIn(lib, volumeNode, segmentationNode, names):
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.GetSegmentIdBySegmentName(name) for name in names]
    return lib.LabelExport.exportLabels(volumeNode, segmentationNode, ids)


@pytest.mark.parametrize("axes", AXES_IJK_TO_RAS.values(), ids=AXES_IJK_TO_RAS.keys())
@pytest.mark.parametrize("transformed", [False, True], ids=["untransformed", "transformed"])
def test_result_is_on_the_voxels_that_were_sent(lib, nodes, axes, transformed):
    volumeNode = nodes.addVolume(axes=axes)
    if transformed:
        volumeNode.SetAndObserveTransformNodeID(nodes.addTransform().GetID())
    run = Run(lib, volumeNode)
    labels = (run.engine.last.voxels() % 3 == 0).astype(np.uint8)  # of the voxels themselves, not of their order
    node = run.answer(labels).segmentationNode
    assert run.finished == [run.job] and run.job.state == "done" and run.errors == []
    assert node.GetParentTransformNode() is volumeNode.GetParentTransformNode()
    expected = nodes.slicer.util.arrayFromVolume(volumeNode) % 3 == 0
    assert np.array_equal(labelsIn(lib, volumeNode, node, ["liver"]), expected)


def test_single_slice_and_colour(lib, nodes):
    colours = np.random.default_rng(0).integers(0, 255, (1, 9, 8, 3)).astype(np.uint8)
    volumeNode = nodes.addVolume(colours)
    run = Run(lib, volumeNode)
    labels = (run.engine.last.voxels()[..., 0] > 100).astype(np.uint8)
    node = run.answer(labels).segmentationNode
    assert np.array_equal(labelsIn(lib, volumeNode, node, ["liver"]), colours[..., 0] > 100)


def test_engine_is_asked_for_what_was_chosen(lib, nodes):
    options = {"device": "cpu", "structures": ["liver"], "tta": True, "postProcess": False, "anyModality": True}
    run = Run(lib, nodes.addVolume(), **options)
    parameters = run.engine.last.params
    assert {name: parameters[name] for name in options} == options
    assert (parameters["model"], parameters["roi"], parameters["uncertainty"]) == ("torso", None, None)
    run.job.cancel()


def test_result_is_described_and_placed(lib, nodes):
    volumeNode = nodes.addVolume(name="Panoramix")
    hierarchy = nodes.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(nodes.scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    hierarchy.CreateItem(study, volumeNode)
    # The application gives each new node an item; here it is made by the observer.
    tag = nodes.scene.AddObserver(nodes.scene.NodeAddedEvent, itemForEachResult(hierarchy))
    try:
        job = Run(lib, volumeNode, uncertainty=True).answer(uncertainty=np.zeros(SHAPE, np.float32))
    finally:
        nodes.scene.RemoveObserver(tag)
    node = job.segmentationNode
    assert node.GetName() == "Panoramix segmentation" and job.uncertaintyNode.GetName() == "Panoramix uncertainty"
    for result in (node, job.uncertaintyNode):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == study
    # What Slicer's DICOM SEG export needs: the referenced image, its grid, a coded meaning and a colour.
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volumeNode
    grid = nodes.slicer.vtkOrientedImageData()
    converter = nodes.slicer.vtkSegmentationConverter
    text = node.GetSegmentation().GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    assert converter.DeserializeImageGeometry(text, grid, False) and grid.GetDimensions() == SHAPE[::-1]
    liver = node.GetSegmentation().GetNthSegment(0)
    entry = nodes.slicer.vtkSlicerTerminologyEntry()
    assert nodes.slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(liver.GetTerminology(), entry)
    assert (entry.GetTypeObject().GetCodeValue(), entry.GetTypeObject().GetCodeMeaning()) == ("10200004", "Liver")
    assert liver.GetColor() == pytest.approx(LIVER["color"])
    logic = nodes.slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.GetSegmentStatus(liver) == logic.InProgress


def itemForEachResult(hierarchy):
    import vtk

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(caller, event, node):
        if node.IsA("vtkMRMLSegmentationNode") or node.IsA("vtkMRMLScalarVolumeNode"):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    return onNodeAdded


@pytest.mark.parametrize("existing", ["replace", "add", "new"])
def test_existing_segments(lib, nodes, drawn, existing):
    volumeNode, node = drawn
    before = {name: labelsIn(lib, volumeNode, node, [name]) for name in ("tumour", "liver")}
    result = Run(lib, volumeNode, node, existingSegments=existing).answer().segmentationNode
    assert (result is node) == (existing != "new")
    added = {"replace": ["tumour", "liver", "spleen"], "add": ["tumour", "liver", "liver_1", "spleen"]}
    assert nodes.segmentNames(result) == added.get(existing, ["liver", "spleen"])
    untouched = ["tumour"] if existing == "replace" else ["tumour", "liver"]
    for name in untouched:
        assert np.array_equal(labelsIn(lib, volumeNode, node, [name]), before[name])
    newNames = nodes.segmentNames(result)[-2:]
    assert np.array_equal(labelsIn(lib, volumeNode, result, newNames), inOrder(twoLabels(), [1, 5]))


@pytest.mark.parametrize("existing", ["replace", "add"])
def test_undo(lib, nodes, drawn, existing):
    volumeNode, node = drawn
    before = {name: labelsIn(lib, volumeNode, node, [name]).tobytes() for name in ("tumour", "liver")}
    Run(lib, *drawn, existingSegments=existing).answer()
    assert lib.SegmentationHistory.undo(node)
    assert {name: labelsIn(lib, volumeNode, node, [name]).tobytes() for name in nodes.segmentNames(node)} == before


def test_undo_of_a_run_that_created_the_node(lib, nodes):
    volumeNode = nodes.addVolume()
    before = state(nodes)
    node = Run(lib, volumeNode).answer().segmentationNode
    assert lib.SegmentationHistory.undo(node)
    assert [row[0] for row in state(nodes)] == [row[0] for row in before]


def test_run_after_undo_gets_the_same_name(lib, nodes):
    volumeNode = nodes.addVolume(name="chest")
    first = Run(lib, volumeNode).answer().segmentationNode
    second = Run(lib, volumeNode).answer().segmentationNode
    assert [first.GetName(), second.GetName()] == ["chest segmentation", "chest segmentation_1"]
    assert lib.SegmentationHistory.undo(first)
    assert Run(lib, volumeNode).answer().segmentationNode.GetName() == "chest segmentation"


def test_region_of_interest_is_sent_in_voxels(lib, nodes):
    volumeNode = nodes.addVolume(axes=np.eye(3), spacing=(1, 1, 1), origin=(0, 0, 0))
    transform = nodes.addTransform(rotation(90, 2), (10.0, 0.0, 0.0))
    volumeNode.SetAndObserveTransformNodeID(transform.GetID())
    # x = 10 - j, y = i: the voxels i = 2..4, j = 1..3, k = 0..1
    region = nodes.addRegion(center=(8.0, 3.0, 0.5), size=(3.0, 3.0, 2.0))
    run = Run(lib, volumeNode, roiNode=region)
    assert run.engine.last.params["roi"] == [2, 5, 1, 4, 0, 2]
    run.job.cancel()


def test_uncertainty_is_a_volume_in_place(lib, nodes):
    volumeNode = nodes.addVolume(axes=AXES_IJK_TO_RAS["oblique"])
    volumeNode.SetAndObserveTransformNodeID(nodes.addTransform().GetID())
    entropy = np.linspace(0, 1, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    node = Run(lib, volumeNode, uncertainty=True).answer(uncertainty=entropy).uncertaintyNode
    assert np.array_equal(nodes.slicer.util.arrayFromVolume(node), entropy)
    assert np.allclose(lib.Geometry.ijkToRAS(node), lib.Geometry.ijkToRAS(volumeNode))
    assert node.GetParentTransformNode() is volumeNode.GetParentTransformNode()
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)


def test_nothing_found_makes_no_node(lib, nodes):
    volumeNode = nodes.addVolume()
    before = state(nodes)
    run = Run(lib, volumeNode)
    job = run.answer(np.zeros(SHAPE, np.uint8))
    assert (job.state, job.message, job.segmentationNode) == ("done", "No structure was found.", None)
    assert run.finished == [job] and state(nodes) == before


def test_nothing_found_empties_the_segments_of_a_given_node(lib, nodes, drawn):
    volumeNode, node = drawn
    tumour = labelsIn(lib, volumeNode, node, ["tumour"])
    job = Run(lib, *drawn).answer(np.zeros(SHAPE, np.uint8))
    assert (job.segmentationNode, job.message) == (node, "No structure was found.")
    assert nodes.segmentNames(node) == ["tumour", "liver", "spleen"]
    assert not labelsIn(lib, volumeNode, node, ["liver", "spleen"]).any()
    assert np.array_equal(labelsIn(lib, volumeNode, node, ["tumour"]), tumour)


def test_message_names_what_was_found(lib, nodes):
    job = Run(lib, nodes.addVolume()).answer((twoLabels() == 5).astype(np.uint8) * 5)
    assert job.message == "Found: spleen."


@pytest.mark.parametrize("moment", ["waiting", "running"])
def test_cancel_changes_nothing(lib, nodes, drawn, moment):
    before = state(nodes)
    run = Run(lib, *drawn)
    if moment == "running":
        run.engine.last.sendProgress({"stage": "segmenting", "fraction": 0.5, "done": 1, "total": 2})
    assert run.job.state == moment
    run.job.cancel()
    assert run.engine.last.isCancelled
    assert [error.kind for error in run.errors] == ["CancelledError"] and run.job.state == "cancelled"
    lateEvents = run.engine.last
    lateEvents.sendProgress({"stage": "segmenting", "fraction": 1.0, "done": 2, "total": 2})
    lateEvents.sendError(run.errors[0])
    run.job.cancel()
    assert len(run.errors) == 1 and not run.finished
    assert state(nodes) == before


def test_failure_of_the_engine_changes_nothing(lib, nodes, drawn):
    from SAM2AdaptLib.Engine.Error import EngineError

    before = state(nodes)
    run = Run(lib, *drawn)
    error = EngineError("EngineStopped", "The engine stopped unexpectedly (killed, signal 9).", "Start it again.", "x")
    run.engine.last.sendError(error)
    assert run.errors == [error] and run.job.error is error and run.job.state == "failed"
    assert state(nodes) == before


@pytest.mark.parametrize(
    ("labels", "structures", "kind"),
    [
        (twoLabels()[:-1], STRUCTURES, "GeometryError"),
        (twoLabels(), [LIVER], "ClassesError"),
        (twoLabels(), [LIVER, SPLEEN | {"name": "tumour"}, {"id": 3, "name": "tumour"}], "ClassesError"),
    ],
    ids=["other shape", "label without structure", "same name twice"],
)
def test_result_that_cannot_be_used_changes_nothing(lib, nodes, drawn, labels, structures, kind):
    before = state(nodes)
    run = Run(lib, *drawn)
    run.answer(labels, structures)
    assert [error.kind for error in run.errors] == [kind] and not run.finished
    assert state(nodes) == before


@pytest.mark.parametrize("given", [False, True], ids=["new node", "given node"])
def test_defect_of_ours_changes_nothing(lib, nodes, drawn, given, monkeypatch):
    """The last step of the import fails, after the segments have been filled."""
    volumeNode, node = drawn
    names = ["tumour", "liver"]
    before = [row[0] for row in state(nodes)], [labelsIn(lib, volumeNode, node, [name]).tobytes() for name in names]
    monkeypatch.setattr(lib.LabelImport, "_verifyVoxelCounts", lambda *arguments: 1 / 0)
    run = Run(lib, volumeNode, node if given else None)
    run.answer()
    (error,) = run.errors
    assert error.kind == "Defect" and "division by zero" in error.message and "_verifyVoxelCounts" in error.details
    assert nodes.segmentNames(node) == names and not lib.SegmentationHistory.canUndo(node)
    after = [row[0] for row in state(nodes)], [labelsIn(lib, volumeNode, node, [name]).tobytes() for name in names]
    assert after == before


def test_missing_file_of_labels_is_a_failure(lib, nodes):
    run = Run(lib, nodes.addVolume())
    run.engine.last.sendResult({"structures": [LIVER]})
    assert run.errors[0].kind == "Defect" and "labels" in run.errors[0].message


@pytest.mark.parametrize("which", ["volume", "segmentation", "scene"])
def test_what_is_used_is_removed_meanwhile(lib, nodes, drawn, which):
    volumeNode, node = drawn
    run = Run(lib, *drawn)
    if which == "scene":
        nodes.scene.Clear(0)
    else:
        nodes.scene.RemoveNode(volumeNode if which == "volume" else node)
    assert run.engine.last.isCancelled and [error.kind for error in run.errors] == ["CancelledError"]
    count = nodes.scene.GetNumberOfNodes()
    run.engine.last.sendResult({"structures": [LIVER]})
    assert nodes.scene.GetNumberOfNodes() == count and len(run.errors) == 1


def test_removal_of_other_nodes_does_not_matter(lib, nodes, drawn):
    other = nodes.addVolume(name="other")
    run = Run(lib, *drawn)
    nodes.scene.RemoveNode(other)
    assert run.answer().state == "done"


@pytest.mark.parametrize("end", ["answer", "cancel", "fail"])
def test_nothing_observes_the_scene_afterwards(lib, nodes, end):
    events = [nodes.scene.NodeAboutToBeRemovedEvent, nodes.scene.StartCloseEvent]
    volumeNode = nodes.addVolume()
    before = [nodes.scene.HasObserver(event) for event in events]
    run = Run(lib, volumeNode)
    assert all(nodes.scene.HasObserver(event) for event in events)
    if end == "answer":
        run.answer()
    elif end == "cancel":
        run.job.cancel()
    else:
        run.answer(twoLabels()[:-1])
    assert [nodes.scene.HasObserver(event) for event in events] == before


def test_voxels_may_change_while_the_engine_works(lib, nodes):
    volumeNode = nodes.addVolume()
    run = Run(lib, volumeNode)
    nodes.slicer.util.updateVolumeFromArray(volumeNode, np.zeros(SHAPE, np.int16))
    assert run.engine.last.voxels().any()
    assert run.answer().state == "done"


def test_geometry_may_not_change_while_the_engine_works(lib, nodes):
    volumeNode = nodes.addVolume()
    run = Run(lib, volumeNode)
    volumeNode.SetOrigin(1, 2, 3)
    run.answer()
    assert [error.kind for error in run.errors] == ["GeometryError"]


def test_volume_may_be_put_under_a_transform_while_the_engine_works(lib, nodes):
    volumeNode = nodes.addVolume()
    run = Run(lib, volumeNode)
    volumeNode.SetAndObserveTransformNodeID(nodes.addTransform().GetID())
    node = run.answer().segmentationNode
    assert node.GetParentTransformNode() is volumeNode.GetParentTransformNode()
    assert np.array_equal(labelsIn(lib, volumeNode, node, ["liver", "spleen"]), inOrder(twoLabels(), [1, 5]))


def test_progress_in_words(lib, nodes):
    run = Run(lib, nodes.addVolume())
    send = run.engine.last.sendProgress
    send({"stage": "loading", "fraction": 0, "done": 0, "total": 1, "unit": "model", "rate": None, "secondsLeft": None})
    send({"stage": "segmenting", "fraction": 0.4, "done": 34, "total": 78, "rate": 20.9, "secondsLeft": 2.1})
    send({"stage": "segmenting", "fraction": 0.5, "done": 1, "total": 2, "rate": 0.52, "secondsLeft": 200})
    send({"stage": "finishing", "fraction": 1.0, "done": 2, "total": 2, "rate": None, "secondsLeft": None})
    run.answer()
    assert [progress["text"] for progress in run.progress] == [
        "Loading the model",
        "Segmenting: 34 of 78 slices, about 2 s left",
        "Segmenting: 1 of 2 slices, about 3 min left",
        "Cleaning up the result",
        "Importing the result",
    ]
    assert [progress["fraction"] for progress in run.progress] == [0, 0.4, 0.5, 1.0, 1.0]


def test_warnings_and_times_are_kept(lib, nodes):
    run = Run(lib, nodes.addVolume())
    run.engine.last.sendLog({"level": "warning", "message": "Memory ran out with 8 slices at once; going on with 4."})
    job = run.answer()
    assert job.log == ["Memory ran out with 8 slices at once; going on with 4."]
    assert job.seconds["total"] >= sum(job.seconds[part] for part in ("transfer", "engine", "import")) > 0


def refusedStart(lib, *arguments, **options):
    from SAM2AdaptLib.Engine.Error import EngineError

    with pytest.raises(EngineError) as caught:
        Run(lib, *arguments, **options)
    return caught.value


def test_what_cannot_work_is_refused_at_once(lib, nodes, drawn):
    volumeNode, node = drawn
    hollow = nodes.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    sheared = nodes.addVolume(axes=np.array([[1, 0.5, 0], [0, 0.75**0.5, 0], [0, 0, 1]]), name="sheared")
    region = nodes.addRegion((900, 0, 0), (5.0,) * 3)
    assert refusedStart(lib, None).kind == "VolumeError"
    assert refusedStart(lib, hollow).kind == "VolumeError"
    assert refusedStart(lib, sheared).kind == "GeometryError"
    assert refusedStart(lib, volumeNode, roiNode=region).kind == "SettingsError"
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    error = refusedStart(lib, volumeNode, node)
    assert error.kind == "GeometryError" and error.remedy and str(error) == f"{error.message} {error.remedy}"
    for gone in (nodes.addVolume(name="gone"), nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "gone")):
        nodes.scene.RemoveNode(gone)
        given = [volumeNode, gone] if gone.IsA("vtkMRMLSegmentationNode") else [gone]
        assert "'gone' is not in the scene" in str(refusedStart(lib, *given))
    assert refusedStart(lib, volumeNode, structures=[]).kind == "SettingsError"
    for wrong in ({"existingSegments": "overwrite"}, {"timePoints": "some"}):
        with pytest.raises(ValueError, match=r"overwrite|some"):
            Run(lib, volumeNode, **wrong)


def test_engine_that_cannot_be_asked_leaves_nothing(lib, nodes):
    volumeNode = nodes.addVolume()
    before = state(nodes)
    with pytest.raises(ConnectionError):
        lib.SegmentJob.start(BrokenEngine(), volumeNode, "torso")
    assert state(nodes) == before


class BrokenEngine:
    def request(self, *arguments, **options):
        raise ConnectionError
