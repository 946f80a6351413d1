"""Markups and segments as gestures: however nodes lie and are stored, the same places of the patient count."""

import numpy as np
import pytest
import vtk
from example_nodes import AXES_IJK_TO_RAS, rotation
from sam2adapt.shared.errors import ClassesError, DrawingError, GeometryError, SettingsError

SHAPE = (12, 20, 24)  # K, J, I
MARKUPS = {name: f"vtkMRMLMarkups{name}Node" for name in ("Fiducial", "Line", "Curve", "ClosedCurve", "Plane", "Angle")}


class Case:
    """A volume with a segmentation of one voxel, both perhaps under a transform."""

    def __init__(self, lib, nodes, axes=AXES_IJK_TO_RAS["LPS"], transform=None):
        self.lib, self.nodes, self.slicer = lib, nodes, nodes.slicer
        self.volume = nodes.addVolume(np.zeros(SHAPE, np.int16), axes=axes)
        mask = np.zeros(SHAPE, np.uint8)
        mask[6, 10, 12] = 1
        structure = {"id": 1, "name": "organ"}
        self.segmentation = lib.LabelImport.importLabels(self.volume, mask, [structure], None)
        if transform:
            for node in (self.volume, self.segmentation):
                node.SetAndObserveTransformNodeID(transform.GetID())

    def position(self, voxel):
        """R, A, S in the world of a place in voxels I, J, K."""
        matrix = self.lib.Geometry.toWorld(self.volume, self.lib.Geometry.ijkToRAS(self.volume))
        return (matrix @ [*voxel, 1])[:3]

    def addMarkups(self, kind, voxels, transform=None):
        """Markups whose points lie in voxels; under a transform they lie in the same places of the world."""
        node = self.nodes.scene.AddNewNodeByClass(MARKUPS[kind], kind)
        if transform:
            node.SetAndObserveTransformNodeID(transform.GetID())
        for voxel in voxels:
            node.AddControlPointWorld(vtk.vtkVector3d(*self.position(voxel)))
        return node

    def addRegion(self, low, high, turn=None):
        """A region from one place in voxels to another, along the axes of the volume, or turned in its slices."""
        axes = self.lib.Geometry.ijkToRAS(self.volume)[:3, :3]
        spacing = np.linalg.norm(axes, axis=0)
        size = (np.array(high) - low) * spacing
        center = self.position((np.array(low) + high) / 2)
        return self.nodes.addRegion(center, size, axes / spacing @ (np.eye(3) if turn is None else turn))

    def addSegment(self, mask, name="scribble", volumeNode=None, segmentationNode=None):
        """A segment on the voxels of a volume, in a segmentation of its own unless one is given."""
        return self.lib.LabelImport.importLabels(
            volumeNode or self.volume, mask, [{"id": 1, "name": name}], segmentationNode
        )

    def read(self, node, segment="", isPositive=True):
        """What a node shows; ``segment``: name."""
        segmentId = node.GetSegmentation().GetSegmentIdBySegmentName(segment) if segment else ""
        grid = self.lib.SegmentMasks.drawingGrid(self.volume, self.segmentation)
        organ = self.segmentation.GetSegmentation().GetSegmentIdBySegmentName("organ")
        shown = self.lib.SceneGestures.Shown(node, segmentId)
        return self.lib.SceneGestures.read(shown, self.segmentation, organ, grid, isPositive)


@pytest.fixture
def case(lib, nodes):
    return Case(lib, nodes)


def voxelsOf(gestures):
    return {tuple(voxel) for entry in gestures.entries for voxel in entry["voxels"]}


def kindsOf(gestures):
    return [entry["kind"] for entry in gestures.entries]


def test_markups_show_the_same_places_under_any_transform_and_orientation(lib, nodes):
    outline = [(4, 4, 5), (12, 4, 5), (12, 9, 5), (4, 9, 5)]
    for axes in ("LPS", "permuted", "oblique left-handed"):
        for ofVolume, ofMarkups in ((False, False), (True, False), (False, True), (True, True)):
            nodes.scene.Clear(0)
            case = Case(lib, nodes, AXES_IJK_TO_RAS[axes], nodes.addTransform() if ofVolume else None)
            other = nodes.addTransform(rotation(31, 1), (-9, 4, 30)) if ofMarkups else None
            points = case.read(case.addMarkups("Fiducial", [(3, 2, 5), (20, 9, 7)], other), isPositive=False)
            assert points.entries == [
                {"kind": "point", "positive": False, "voxels": [[3, 2, 5]]},
                {"kind": "point", "positive": False, "voxels": [[20, 9, 7]]},
            ]
            line = case.read(case.addMarkups("Line", [(3, 2, 5), (9, 2, 5)], other))
            assert kindsOf(line) == ["scribble"] and voxelsOf(line) == {(i, 2, 5) for i in range(3, 10)}
            closed = case.read(case.addMarkups("ClosedCurve", outline, other))
            assert kindsOf(closed) == ["drawn"] and {k for _, _, k in voxelsOf(closed)} == {5}
            assert voxelsOf(closed) >= {(i, j, 5) for i in range(5, 12) for j in range(5, 9)}
            assert len(voxelsOf(closed)) < 9 * 6 * 1.6  # the spline leaves its points a little


def test_lines_have_no_gaps_and_leave_what_lies_outside(case):
    curve = case.addMarkups("Curve", [(3, 2, 1), (12, 9, 8), (20, 3, 8)])
    voxels = np.array(sorted(voxelsOf(case.read(curve))))
    apart = np.abs(voxels[:, None] - voxels).max(-1) + 9 * np.eye(len(voxels))
    assert (apart.min(1) == 1).all() and {1, 8} <= set(voxels[:, 2])
    across = case.read(case.addMarkups("Line", [(-5, 2, 5), (4, 2, 5)]))
    assert voxelsOf(across) == {(i, 2, 5) for i in range(5)}
    bent = case.addMarkups("ClosedCurve", [(4, 4, 2), (12, 4, 5), (12, 9, 9), (4, 9, 5)])
    assert kindsOf(case.read(bent)) == ["scribble"]  # it lies in no slice, so it encloses nothing
    assert kindsOf(case.read(case.addMarkups("Curve", [(4, 4, 2)]))) == ["scribble"]
    assert kindsOf(case.read(case.addMarkups("Angle", [(4, 4, 2), (9, 4, 2), (9, 9, 2)]))) == ["scribble"]


def test_boxes_hold_what_lies_in_them(case, nodes):
    region = case.read(case.addRegion((3.6, 2.6, 4.6), (9.4, 8.4, 7.4)))
    assert kindsOf(region) == ["box"] and region.entries[0]["voxels"] == [[4, 3, 5], [9, 8, 7]]
    assert np.count_nonzero(region.within) == 6 * 6 * 3 and region.within[5:8, 3:9, 4:10].all()
    turned = case.read(case.addRegion((6, 6, 4.6), (14, 14, 7.4), rotation(45, 2)))
    inside = np.argwhere(turned.within)[:, ::-1]
    assert turned.entries[0]["voxels"] == [inside.min(0).tolist(), inside.max(0).tolist()]
    assert turned.within[6, 10, 10] and not turned.within[6, 6, 6]  # the corners of what is sent are not in it
    thin = case.read(case.addRegion((3.6, 2.6, 5.1), (9.4, 8.4, 5.2)))
    assert {k for _, _, k in voxelsOf(thin)} == {5}
    plane = nodes.scene.AddNewNodeByClass("vtkMRMLMarkupsPlaneNode", "P")
    plane.SetCenterWorld(case.position((8, 7, 4)))
    plane.SetNormalWorld((0, 0, 1))
    plane.SetSizeWorld(4.2 * 0.7, 2.2 * 0.9)
    flat = case.read(plane)
    assert kindsOf(flat) == ["box"] and {k for _, _, k in voxelsOf(flat)} == {4}
    assert np.count_nonzero(flat.within) == np.prod([len(range(*ends)) for ends in _ends(flat)])


def _ends(gestures):
    low, high = gestures.entries[0]["voxels"]
    return [(a, b + 1) for a, b in zip(low, high, strict=True)]


def test_a_segment_shows_where_it_lies(case, nodes):
    mask = np.zeros(SHAPE, np.uint8)
    mask[5, 3:6, 4:9] = mask[7, 10, 2:5] = 1
    expected = {(i, j, k) for k, j, i in np.argwhere(mask)}
    for node in (case.addSegment(mask), case.addSegment(mask, segmentationNode=case.segmentation)):
        gestures = case.read(node, "scribble")
        assert kindsOf(gestures) == ["drawn"] and voxelsOf(gestures) == expected
    transform = nodes.addTransform()
    moved = case.addSegment(np.roll(mask, 2, 2))
    moved.SetAndObserveTransformNodeID(transform.GetID())
    back = np.linalg.inv(case.slicer.util.arrayFromTransformMatrix(transform))
    back[0, 3] += 1.4  # R, mm: two voxels
    shift = nodes.addTransform(back[:3, :3], back[:3, 3])
    transform.SetAndObserveTransformNodeID(shift.GetID())
    assert voxelsOf(case.read(moved, "scribble")) == expected


def test_a_segment_of_a_finer_or_coarser_grid(case, nodes):
    origin = case.position((0, 0, 0))
    finer = nodes.addVolume(np.zeros((12, 40, 48), np.int16), spacing=(0.35, 0.45, 3), origin=origin, name="finer")
    mask = np.zeros((12, 40, 48), np.uint8)
    mask[5, 7, 8:20] = 1  # a line so thin that the middles of the volume's voxels may miss it
    shown = voxelsOf(case.read(case.addSegment(mask, volumeNode=finer), "scribble"))
    assert {k for _, _, k in shown} == {5} and {i for i, _, _ in shown} == set(range(4, 11))
    coarser = nodes.addVolume(np.zeros((12, 10, 12), np.int16), spacing=(1.4, 1.8, 3), origin=origin, name="coarser")
    mask = np.zeros((12, 10, 12), np.uint8)
    mask[5, 3, 2:6] = 1
    shown = voxelsOf(case.read(case.addSegment(mask, volumeNode=coarser), "scribble"))
    assert {(i, 6, 5) for i in range(4, 10)} <= shown and len(shown) > 3 * 4


def test_what_shows_nothing_gets_a_sentence(case, nodes, lib):
    empty, everywhere = np.zeros(SHAPE, np.uint8), np.ones((40, 40, 40), np.uint8)
    far = case.addRegion((90, 90, 90), (99, 99, 99))
    case.addSegment(empty, "nothing", segmentationNode=case.segmentation)
    large = Case(lib, nodes)
    large.volume = nodes.addVolume(np.zeros(everywhere.shape, np.int16))
    large.segmentation = case.addSegment(everywhere, "organ", large.volume)
    case.addSegment(everywhere, "lots", large.volume, large.segmentation)
    bent = nodes.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    region = case.addRegion((3, 3, 3), (5, 5, 5))
    region.SetAndObserveTransformNodeID(bent.GetID())
    unplaced = nodes.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    markups = [
        case.addMarkups(kind, voxels)
        for kind, voxels in (
            ("Fiducial", []), ("Plane", []), ("Fiducial", [(1, 1, 1), (99, 1, 1)]), ("Line", [(99, 1, 1), (95, 1, 1)]),
        )
    ]  # fmt: skip
    sentences = [
        "'Fiducial' has not been placed. Place it in a slice view.", "'Plane' has not been placed.",
        "Point 'Fiducial-2' of 'Fiducial' lies outside of the volume.", "'Line' lies outside of the volume. Move it",
    ]  # fmt: skip
    cases = [
        *((case, node, "", SettingsError, words) for node, words in zip(markups, sentences, strict=True)),
        (case, unplaced, "", SettingsError, "'R' has not been placed."),
        (case, far, "", SettingsError, "lies outside of the volume. Move it into the volume."),
        (case, region, "", GeometryError, "under a non-linear transform, which bends boxes. Use points"),
        (case, case.volume, "", SettingsError, "'CT' cannot show where a segment is wrong. Choose markups"),
        (case, case.segmentation, "organ", ClassesError, "'organ' is the segment to correct. Draw what is missing"),
        (case, case.segmentation, "nothing", DrawingError, "'nothing' is empty. Draw in it first."),
        (case, case.segmentation, "gone", ClassesError, "is not there any more. Choose another one."),
        (large, large.segmentation, "lots", DrawingError, "'lots' holds 64000 voxels; at most 20000 can show"),
    ]
    for which, node, segment, kind, words in cases:
        with pytest.raises(kind) as raised:
            which.read(node, segment)
        assert words in f"{raised.value.message} {raised.value.remedy}", words
