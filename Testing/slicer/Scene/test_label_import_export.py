"""Labels become segments and the reverse, on real MRML nodes in every geometry that a scanner or a user can make."""

from types import SimpleNamespace

import numpy as np
import pytest
import vtk
from example_nodes import AXES_IJK_TO_RAS, LIVER, SHAPE, SPLEEN, inOrder, rotation, twoLabels
from sam2adapt.shared import errors


@pytest.fixture
def bridge(lib, nodes):
    """The modules, and helpers that make nodes in the empty scene."""
    return SimpleNamespace(
        lib=lib,
        slicer=nodes.slicer,
        scene=nodes.scene,
        addVolume=nodes.addVolume,
        addTransform=nodes.addTransform,
        segmentIds=nodes.segmentIds,
    )


@pytest.mark.parametrize("axes", AXES_IJK_TO_RAS.values(), ids=AXES_IJK_TO_RAS.keys())
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 3.0)], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("transformed", [False, True], ids=["untransformed", "transformed"])
def test_labels_return_unchanged_in_every_geometry(bridge, axes, spacing, transformed):
    volume, labels = bridge.addVolume(axes=axes, spacing=spacing), twoLabels()
    if transformed:
        volume.SetAndObserveTransformNodeID(bridge.addTransform().GetID())
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN])
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert np.array_equal(
        bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node)), inOrder(labels, [1, 5])
    )


@pytest.mark.parametrize("axes", AXES_IJK_TO_RAS.values(), ids=AXES_IJK_TO_RAS.keys())
def test_labelled_voxel_is_where_the_volume_has_it(bridge, axes):
    """Independent of exportLabels: position in the patient, from the segment's own label map."""
    volume, labels = bridge.addVolume(axes=axes), np.zeros(SHAPE, np.uint8)
    labels[3, 1, 5] = 1
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER])
    image = node.GetBinaryLabelmapInternalRepresentation(bridge.segmentIds(node)[0])
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    voxels = bridge.lib.LabelMaps.imageToArray(image)
    (k, j, i), extent = np.argwhere(voxels == 1)[0], image.GetExtent()
    found = np.array(matrix.MultiplyPoint((i + extent[0], j + extent[2], k + extent[4], 1)))
    assert np.allclose(found, bridge.lib.Geometry.ijkToRAS(volume) @ (5, 1, 3, 1), atol=1e-9)


@pytest.mark.parametrize("sliceAxis", [0, 1, 2])
def test_volume_of_one_slice(bridge, sliceAxis):
    shape = list(SHAPE)
    shape[sliceAxis] = 1
    labels = np.zeros(shape, np.uint8)
    labels.flat[3:9] = 1
    volume = bridge.addVolume(np.ones(shape, np.uint8))
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER])
    assert np.array_equal(bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node)), labels)


def test_segments_are_named_coded_and_coloured(bridge):
    volume = bridge.addVolume(name="Panoramix")
    node = bridge.lib.LabelImport.importLabels(volume, twoLabels(), [SPLEEN, LIVER])
    segmentation = node.GetSegmentation()
    spleen, liver = (segmentation.GetSegment(segmentId) for segmentId in bridge.segmentIds(node))
    assert (spleen.GetName(), liver.GetName()) == ("spleen", "liver")
    assert liver.GetTerminology() == LIVER["terminology"]
    assert np.allclose(liver.GetColor(), LIVER["color"]) and np.allclose(spleen.GetColor(), SPLEEN["color"])
    logic = bridge.slicer.vtkSlicerSegmentationsModuleLogic
    assert [logic.GetSegmentStatus(segment) for segment in (spleen, liver)] == [logic.InProgress] * 2
    assert node.GetName() == "Panoramix segmentation" and node.GetDisplayNode()
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume


def test_structure_without_voxels_becomes_an_empty_segment(bridge):
    volume = bridge.addVolume()
    labels = (twoLabels() == 5).astype(np.uint8) * 5
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN])
    assert np.array_equal(
        bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node)), inOrder(labels, [1, 5])
    )
    assert bridge.lib.LabelMaps.segmentVolumes(node)[bridge.segmentIds(node)[0]] == 0


def test_nothing_found_gives_empty_segments(bridge):
    volume = bridge.addVolume()
    node = bridge.lib.LabelImport.importLabels(volume, np.zeros(SHAPE, np.uint8), [LIVER, SPLEEN])
    assert len(bridge.segmentIds(node)) == 2
    assert not bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node)).any()


def test_255_structures(bridge):
    shape = (4, 8, 8)
    labels = np.arange(256, dtype=np.uint8).reshape(shape)
    volume = bridge.addVolume(np.zeros(shape, np.int16))
    node = bridge.lib.LabelImport.importLabels(
        volume, labels, [{"id": k, "name": f"structure {k}"} for k in range(1, 256)]
    )
    assert np.array_equal(bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node)), labels)


def test_export_numbers_segments_in_the_order_asked_for(bridge):
    volume, labels = bridge.addVolume(), twoLabels()
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN])
    liver, spleen = bridge.segmentIds(node)
    assert np.array_equal(bridge.lib.LabelExport.exportLabels(volume, node, [spleen, liver]), inOrder(labels, [5, 1]))
    assert np.array_equal(bridge.lib.LabelExport.exportLabels(volume, node, [spleen]), inOrder(labels, [5]))


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1,), (0, 1, 0)])
@pytest.mark.parametrize("corner", [(0, 0, 0), (2, 3, 1)])
def test_export_from_a_shared_label_map_is_what_slicer_merges(bridge, monkeypatch, corner, order):
    """The label map holds only a part of the volume: Slicer crops it to the segments."""
    volume, labels = bridge.addVolume(), np.zeros(SHAPE, np.uint8)
    k, j, i = corner
    labels[k : k + 2, j : j + 3, i : i + 4] = 1
    labels[corner] = 5
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN])
    node.GetSegmentation().CollapseBinaryLabelmaps()
    segment = node.GetSegmentation().GetSegment(bridge.segmentIds(node)[0])
    segment.GetRepresentation(bridge.lib.LabelMaps.labelmapName()).Crop((i, i + 3, j, j + 2, k, k + 1))
    segmentIds = [bridge.segmentIds(node)[n] for n in order]
    exported = bridge.lib.LabelExport.exportLabels(volume, node, segmentIds)
    monkeypatch.setattr(bridge.lib.LabelExport, "_layersOn", lambda *arguments: None)
    assert np.array_equal(exported, bridge.lib.LabelExport.exportLabels(volume, node, segmentIds))
    assert exported.any()


@pytest.mark.parametrize("firstWins", [False, True])
def test_overlapping_segments_are_exported_as_slicer_merges_them_all_at_once_and_in_parts(
    bridge, monkeypatch, firstWins
):
    volume, export = bridge.addVolume(), bridge.lib.LabelExport
    node = bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN])
    large = np.zeros(SHAPE, np.uint8)
    large[1:, 2:5] = 1
    bridge.lib.LabelImport.importLabels(volume, large, [{"id": 1, "name": "tumour"}], node)
    node.GetSegmentation().AddEmptySegment("", "nothing")
    segmentIds = [bridge.segmentIds(node)[n] for n in (2, 0, 3, 1)]
    whole = export.exportLabels(volume, node, segmentIds, firstWins)
    lost = export.overlaps(volume, node, segmentIds, firstWins)
    monkeypatch.setattr(export, "_AT_ONCE", 1)
    planes = export.LabelPlanes(volume, node, segmentIds, firstWins)
    assert len(planes.parts()) == SHAPE[0]
    assert np.array_equal(np.concatenate([planes.read(*part) for part in planes.parts()]), whole)
    assert export.overlaps(volume, node, segmentIds, firstWins) == lost and lost
    monkeypatch.setattr(export, "_layersOn", lambda *arguments: None)
    assert np.array_equal(export.exportLabels(volume, node, segmentIds, firstWins), whole)


def _withForeignSegments(bridge, volume):
    """A segmentation of two segments in one shared label map, as a user drew them; the liver overlaps the result."""
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[1:4, 2:5, 2:6] = 1
    drawn[4] = 2
    node = bridge.lib.LabelImport.importLabels(volume, drawn, [{"id": 1, "name": "tumour"}, {"id": 2, "name": "liver"}])
    return node, drawn


@pytest.mark.parametrize("existing", ["replace", "add"])
def test_other_segments_stay_as_they_are(bridge, existing):
    volume = bridge.addVolume()
    node, drawn = _withForeignSegments(bridge, volume)
    tumour, oldLiver = bridge.segmentIds(node)
    result = bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN], node, existing=existing)
    assert result is node
    kept = [tumour] if existing == "replace" else [tumour, oldLiver]
    for segmentId in kept:
        found = bridge.lib.LabelExport.exportLabels(volume, node, [segmentId])
        assert np.array_equal(found, drawn == (1 if segmentId == tumour else 2))
    expectedNames = ["tumour", "liver", "spleen"] if existing == "replace" else ["tumour", "liver", "liver_1", "spleen"]
    names = [node.GetSegmentation().GetSegment(segmentId).GetName() for segmentId in bridge.segmentIds(node)]
    assert names == expectedNames
    newIds = bridge.segmentIds(node)[-2:]
    assert np.array_equal(bridge.lib.LabelExport.exportLabels(volume, node, newIds), inOrder(twoLabels(), [1, 5]))


def test_replacing_an_ambiguous_name_is_refused_and_changes_nothing(bridge):
    volume = bridge.addVolume()
    node, _ = _withForeignSegments(bridge, volume)
    bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN], node, existing="add")
    node.GetSegmentation().GetSegment(bridge.segmentIds(node)[2]).SetName("liver")
    with pytest.raises(errors.ClassesError, match="several segments named 'liver'"):
        bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN], node)
    assert len(bridge.segmentIds(node)) == 4


def test_running_twice_replaces_the_first_result(bridge):
    volume = bridge.addVolume()
    node = bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN])
    second = np.flip(twoLabels(), axis=(0, 1)).copy()
    bridge.lib.LabelImport.importLabels(volume, second, [LIVER, SPLEEN], node)
    assert len(bridge.segmentIds(node)) == 2
    assert np.array_equal(
        bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node)), inOrder(second, [1, 5])
    )


@pytest.mark.parametrize("under", ["volume", "segmentation", "both differ"])
def test_existing_segmentation_under_another_linear_transform(bridge, under):
    volume, labels = bridge.addVolume(), twoLabels()
    node = bridge.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    if under != "segmentation":
        volume.SetAndObserveTransformNodeID(bridge.addTransform().GetID())
    if under != "volume":
        node.SetAndObserveTransformNodeID(bridge.addTransform(rotation(40, 1), (1.0, 2.0, 3.0)).GetID())
    transformBefore = node.GetTransformNodeID()
    bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN], node)
    assert node.GetTransformNodeID() == transformBefore
    assert np.array_equal(
        bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node)), inOrder(labels, [1, 5])
    )


def test_non_linear_transform_between_is_refused(bridge):
    volume = bridge.addVolume()
    node = bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN])
    points = vtk.vtkPoints(), vtk.vtkPoints()
    for k, corner in enumerate([(0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)]):
        points[0].InsertNextPoint(corner)
        points[1].InsertNextPoint(np.add(corner, k % 2))
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(points[0])
    spline.SetTargetLandmarks(points[1])
    spline.SetBasisToR()
    warp = bridge.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    warp.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(errors.GeometryError, match="non-linear"):
        bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN], node)
    with pytest.raises(errors.GeometryError, match="non-linear"):
        bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node))
    volume.SetAndObserveTransformNodeID(warp.GetID())
    assert np.array_equal(
        bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node)), inOrder(twoLabels(), [1, 5])
    )


def test_scene_gains_a_segmentation_and_nothing_else(bridge):
    volume = bridge.addVolume()
    bridge.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(bridge.scene)  # exists in each application scene
    before = bridge.scene.GetNumberOfNodes()
    node = bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN])
    assert bridge.scene.GetNumberOfNodes() == before + 2  # the segmentation and its display node
    modified = node.GetSegmentation().GetMTime(), volume.GetMTime()
    bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node))
    bridge.lib.LabelMaps.segmentVolumes(node)
    bridge.lib.VolumeTransfer.volumeToArrays(volume)
    assert bridge.scene.GetNumberOfNodes() == before + 2
    assert (node.GetSegmentation().GetMTime(), volume.GetMTime()) == modified


def test_shown_surfaces_follow_the_new_voxels(bridge):
    volume = bridge.addVolume(np.zeros((20, 20, 20), np.int16), spacing=(1, 1, 1))
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER])
    node.CreateClosedSurfaceRepresentation()
    labels = np.roll(labels, 10, axis=2)
    bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN], node)
    segmentId = bridge.segmentIds(node)[0]
    surface = node.GetClosedSurfaceInternalRepresentation(segmentId)
    expected = bridge.lib.Geometry.ijkToRAS(volume) @ (13.5, 3.5, 3.5, 1)
    assert np.allclose(surface.GetCenter(), expected[:3], atol=0.6)


def test_surfaces_of_other_segments_stay(bridge):
    """Slicer drops the surfaces of all segments that share a label map with one that is replaced."""
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:6, 2:6, 2:6], labels[10:14, 2:6, 2:6] = 1, 5
    volume = bridge.addVolume(labels)
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN])
    node.CreateClosedSurfaceRepresentation()
    spleenId = bridge.segmentIds(node)[1]
    surface = node.GetClosedSurfaceInternalRepresentation(spleenId)
    bridge.lib.LabelImport.importLabels(volume, (labels == 1).astype(np.uint8), [LIVER], node)
    assert node.GetClosedSurfaceInternalRepresentation(spleenId) is surface


def _asSurfaces(bridge, node):
    segmentation = node.GetSegmentation()
    assert node.CreateClosedSurfaceRepresentation()
    segmentation.SetSourceRepresentationName(bridge.lib.LabelMaps.surfaceName())
    segmentation.RemoveRepresentation(bridge.lib.LabelMaps.labelmapName())


def test_surfaces_can_be_exported_but_not_imported_into(bridge):
    shape = (24, 30, 36)
    volume = bridge.addVolume(np.zeros(shape, np.int16), axes=AXES_IJK_TO_RAS["oblique"], spacing=(1, 1, 1))
    k, j, i = np.ogrid[: shape[0], : shape[1], : shape[2]]
    ball = ((k - 12) ** 2 + (j - 13) ** 2 + (i - 20) ** 2 < 64).astype(np.uint8)
    node = bridge.lib.LabelImport.importLabels(volume, ball, [LIVER])
    _asSurfaces(bridge, node)
    exported = bridge.lib.LabelExport.exportLabels(volume, node, bridge.segmentIds(node))
    assert exported.shape == shape
    assert 2 * np.logical_and(exported, ball).sum() / (exported.sum() + ball.sum()) > 0.95
    assert not node.GetSegmentation().ContainsRepresentation(bridge.lib.LabelMaps.labelmapName())
    with pytest.raises(errors.GeometryError, match="closed surface"):
        bridge.lib.LabelImport.importLabels(volume, ball, [SPLEEN | {"id": 1}], node)
    assert len(bridge.segmentIds(node)) == 1


def test_volumes_in_millilitres(bridge):
    volume, labels = bridge.addVolume(spacing=(2.0, 2.5, 4.0)), twoLabels()
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN])
    expected = [np.count_nonzero(labels == value) * 2.0 * 2.5 * 4.0 / 1000 for value in (1, 5)]
    assert list(bridge.lib.LabelMaps.segmentVolumes(node).values()) == pytest.approx(expected)


@pytest.mark.parametrize("axes", AXES_IJK_TO_RAS.values(), ids=AXES_IJK_TO_RAS.keys())
def test_volume_to_arrays_gives_the_geometry_in_lps(bridge, axes):
    volume = bridge.addVolume(axes=axes)
    array, origin, spacing, direction = bridge.lib.VolumeTransfer.volumeToArrays(volume)
    assert array.shape == (1, *SHAPE) and np.array_equal(array[0], bridge.slicer.util.arrayFromVolume(volume))
    assert np.allclose(spacing, (0.7, 0.9, 3.0))
    i, j, k = 4, 2, 3
    lps = origin + direction @ (spacing * (i, j, k))
    assert np.allclose(lps * (-1, -1, 1), (bridge.lib.Geometry.ijkToRAS(volume) @ (i, j, k, 1))[:3])
    assert np.allclose(direction.T @ direction, np.eye(3))


def test_colour_volume_has_its_channels_first(bridge):
    colours = np.random.default_rng(0).integers(0, 255, (2, 4, 5, 3)).astype(np.uint8)
    node = bridge.slicer.util.addVolumeFromArray(colours, nodeClassName="vtkMRMLVectorVolumeNode")
    array = bridge.lib.VolumeTransfer.volumeToArrays(node)[0]
    assert np.array_equal(array, colours.transpose(3, 0, 1, 2))
    labels = np.zeros((2, 4, 5), np.uint8)
    labels[1, 2:, 3:] = 1
    segmentation = bridge.lib.LabelImport.importLabels(node, labels, [LIVER])
    assert np.array_equal(
        bridge.lib.LabelExport.exportLabels(node, segmentation, bridge.segmentIds(segmentation)), labels
    )


def test_volume_without_voxels_is_refused(bridge):
    volume = bridge.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    with pytest.raises(errors.VolumeError, match="hollow"):
        bridge.lib.VolumeTransfer.volumeToArrays(volume)
    with pytest.raises(errors.VolumeError, match="hollow"):
        bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN])


@pytest.mark.parametrize(
    ("labels", "structures", "error"),
    [
        (twoLabels()[:-1], [LIVER, SPLEEN], "GeometryError"),
        (twoLabels().astype(np.float32), [LIVER, SPLEEN], "ClassesError"),
        (twoLabels(), [LIVER], "ClassesError"),
        (twoLabels(), [], "ClassesError"),
        (twoLabels(), [LIVER, SPLEEN | {"id": 1}], "ClassesError"),
        (twoLabels(), [LIVER, SPLEEN | {"name": "liver"}], "ClassesError"),
        (twoLabels(), [LIVER, SPLEEN, {"id": 0, "name": "air"}], "ClassesError"),
        (twoLabels(), [LIVER, SPLEEN, {"id": 256, "name": "air"}], "ClassesError"),
    ],
    ids=["shape", "float", "label without structure", "no structure", "same id", "same name", "id 0", "id 256"],
)
def test_labels_that_disagree_are_refused_before_the_scene_changes(bridge, labels, structures, error):
    volume = bridge.addVolume()
    before = bridge.scene.GetNumberOfNodes()
    with pytest.raises(getattr(errors, error)):
        bridge.lib.LabelImport.importLabels(volume, labels, structures)
    assert bridge.scene.GetNumberOfNodes() == before


@pytest.mark.parametrize("segmentIds", [[], ["nowhere"]])
def test_export_of_no_or_unknown_segment_is_refused(bridge, segmentIds):
    volume = bridge.addVolume()
    node = bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN])
    with pytest.raises(errors.ClassesError):
        bridge.lib.LabelExport.exportLabels(volume, node, segmentIds)


def test_lost_voxels_are_noticed(bridge, monkeypatch):
    """Slicer's import is replaced by one that hands over all but one voxel."""
    volume, labels = bridge.addVolume(), twoLabels()
    original = bridge.slicer.util.updateVolumeFromArray
    monkeypatch.setattr(
        bridge.slicer.util, "updateVolumeFromArray", lambda node, array: original(node, np.where(array == 2, 1, array))
    )
    bridge.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(bridge.scene)
    before = bridge.scene.GetNumberOfNodes()
    with pytest.raises(RuntimeError, match="voxels instead of"):
        bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN])
    assert bridge.scene.GetNumberOfNodes() == before


def test_seg_nrrd_written_by_slicer_reads_back(bridge, tmp_path):
    volume, labels = bridge.addVolume(axes=AXES_IJK_TO_RAS["oblique"]), twoLabels()
    node = bridge.lib.LabelImport.importLabels(volume, labels, [LIVER, SPLEEN])
    storage = bridge.slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "résultat.seg.nrrd"))
    assert storage.WriteData(node)
    readBack = bridge.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(readBack)
    segmentation = readBack.GetSegmentation()
    segments = [segmentation.GetSegment(segmentId) for segmentId in bridge.segmentIds(readBack)]
    assert [segment.GetName() for segment in segments] == ["liver", "spleen"]
    assert segments[0].GetTerminology() == LIVER["terminology"]
    assert np.allclose(segments[0].GetColor(), LIVER["color"], atol=1e-5)
    assert np.array_equal(
        bridge.lib.LabelExport.exportLabels(volume, readBack, bridge.segmentIds(readBack)), inOrder(labels, [1, 5])
    )


def test_result_goes_beside_the_volume_in_the_subject_hierarchy(bridge):
    volume = bridge.addVolume()
    hierarchy = bridge.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(bridge.scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, volume)
    # The application gives each new node an item; here the scene's observer below does.
    tag = bridge.scene.AddObserver(
        bridge.slicer.vtkMRMLScene.NodeAddedEvent, _itemForEachSegmentation(bridge, hierarchy)
    )
    try:
        node = bridge.lib.LabelImport.importLabels(volume, twoLabels(), [LIVER, SPLEEN])
    finally:
        bridge.scene.RemoveObserver(tag)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def _itemForEachSegmentation(bridge, hierarchy):
    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(caller, event, node):
        if node.IsA("vtkMRMLSegmentationNode"):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    return onNodeAdded
