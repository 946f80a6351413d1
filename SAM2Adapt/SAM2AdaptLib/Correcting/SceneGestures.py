"""What a user placed or drew in the scene, as gestures: points, lines, boxes and outlines of markups, and segments.

Everything counts where it lies in the world, whatever transforms it is under.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import ClassesError, DrawingError, GeometryError, SettingsError
from sam2adapt.shared.protocol import BOX, DRAWN, POINT, SCRIBBLE
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.SceneJob import requireInScene
from SAM2AdaptLib.Scene import Geometry, LabelMaps, SegmentMasks

NODE_TYPES = (
    "vtkMRMLMarkupsFiducialNode", "vtkMRMLMarkupsLineNode", "vtkMRMLMarkupsCurveNode", "vtkMRMLMarkupsClosedCurveNode",
    "vtkMRMLMarkupsPlaneNode", "vtkMRMLMarkupsROINode", "vtkMRMLSegmentationNode",
)  # fmt: skip
MOST_VOXELS = 20_000  # of a drawing: the engine checks each by itself, half a second for 10,000
_FLAT = 1.0  # voxels by which the points of an outline may differ across their slice
_STEP = 0.5  # voxels between places on a line
_EDGE = 1e-6  # of a box: a voxel whose middle lies on its side is in it
_FINE = 1.01  # grid voxels by which a voxel of a segment is at most as large as these


@dataclass(frozen=True)
class Shown:
    """What shows where a segment is wrong.

    :ivar node: a markups node or a segmentation; ``segmentId``: of the segment, if it is a segmentation.
    """

    node: object
    segmentId: str = ""

    def name(self):
        """As the user knows it."""
        if self.node.IsA("vtkMRMLSegmentationNode"):
            return self.node.GetSegmentation().GetSegment(self.segmentId).GetName()
        return self.node.GetName()

    def isSegmentOf(self, segmentationNode):
        """Whether it is a segment of this segmentation."""
        return self.node is segmentationNode


@dataclass
class Gestures:
    """What is sent of it.

    :ivar entries: gestures of a request, with voxels (I, J, K) of the grid.
    :ivar within: (K, J, I) bool, what may change in the slices of a box; None: it is no box.
    :ivar shown: the node that shows it; None: it was clicked.
    """

    entries: list
    within: np.ndarray | None = None
    shown: Shown | None = None


def read(shown, segmentationNode, segmentId, grid, isPositive):
    """What is shown on a grid.

    :param segmentationNode, segmentId: the segment to correct.
    :param grid: vtkOrientedImageData in the coordinates of ``segmentationNode``.
    :return: Gestures.
    :raises SettingsError, DrawingError, ClassesError, GeometryError: it shows nothing, or nothing in the grid.
    """
    node = shown.node
    requireInScene(node)
    if node.IsA("vtkMRMLSegmentationNode"):
        voxels, kind, within = _drawn(shown, segmentationNode, segmentId, grid), DRAWN, None
    elif node.IsA("vtkMRMLMarkupsNode"):
        voxels, kind, within = _placed(node, segmentationNode, grid)
    else:
        raise SettingsError(
            _("'{name}' cannot show where a segment is wrong.").format(name=node.GetName()),
            _("Choose markups or a segment."),
        )
    _requireFew(len(voxels), shown.name())
    parts = [[voxel] for voxel in voxels.tolist()] if kind == POINT else [voxels.tolist()]
    return Gestures([{"kind": kind, "positive": isPositive, "voxels": part} for part in parts], within, shown)


def _requireFew(count, name):
    if count > MOST_VOXELS:
        raise DrawingError(
            _("'{name}' holds {count} voxels; at most {most} can show where a segment is wrong.").format(
                name=name, count=count, most=MOST_VOXELS
            ),
            _("Draw less, or add and subtract segments with the effect “Logical operators”."),
        )


def voxelsOf(positions, segmentationNode, grid):
    """(N, 3) places in voxels I, J, K of the grid, not rounded; ``positions``: (N, 3) R, A, S in the world."""
    places = Geometry.fromWorld(segmentationNode, np.reshape(positions, (-1, 3)))
    matrix = np.linalg.inv(Geometry.gridMatrix(grid))
    return places @ matrix[:3, :3].T + matrix[:3, 3]


def rounded(places):
    """The voxels that hold places."""
    return np.floor(places + 0.5).astype(int)


def isInside(voxels, grid):
    """(N,) whether voxels lie in the grid."""
    return ((voxels >= 0) & (voxels < grid.GetDimensions())).all(axis=1)


# Markups


def _placed(node, segmentationNode, grid):
    """Voxels (N, 3), kind and ``within`` of a markups node."""
    isRegion = node.IsA("vtkMRMLMarkupsROINode")
    if not (np.all(node.GetSize()) if isRegion else node.GetNumberOfDefinedControlPoints()):
        raise SettingsError(
            _("'{name}' has not been placed.").format(name=node.GetName()), _("Place it in a slice view.")
        )
    if isRegion or node.IsA("vtkMRMLMarkupsPlaneNode"):
        within = _voxelsInBox(node, segmentationNode, grid)
        places = np.argwhere(within)[:, ::-1]
        return np.array([places.min(0), places.max(0)]), BOX, within
    if node.IsA("vtkMRMLMarkupsFiducialNode"):
        return _points(node, segmentationNode, grid), POINT, None
    outline = voxelsOf(_line(node), segmentationNode, grid)
    voxels, kind = rounded(_dense(outline)), SCRIBBLE
    if node.IsA("vtkMRMLMarkupsClosedCurveNode") and (np.ptp(outline, axis=0) <= _FLAT).any():
        voxels, kind = np.concatenate([voxels, _filledOutline(outline, grid)]), DRAWN
    return _insideOnly(voxels, node.GetName(), grid), kind, None


def _points(node, segmentationNode, grid):
    """The voxel of each placed point.

    :raises SettingsError: one of them lies outside of the grid.
    """
    indices = [
        index for index in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined
    ]  # fmt: skip
    voxels = rounded(voxelsOf([node.GetNthControlPointPositionWorld(n) for n in indices], segmentationNode, grid))
    for index, isIn in zip(indices, isInside(voxels, grid), strict=True):
        if not isIn:
            raise SettingsError(
                _("Point '{point}' of '{name}' lies outside of the volume.").format(
                    point=node.GetNthControlPointLabel(index), name=node.GetName()
                ),
                _("Move it into the volume, or delete it."),
            )
    return voxels


def _line(node):
    """(N, 3) places on the line of markups, R, A, S in the world, mm."""
    places = slicer.util.arrayFromMarkupsCurvePoints(node, world=True)
    return places if len(places) else slicer.util.arrayFromMarkupsControlPoints(node, world=True)


def _insideOnly(voxels, name, grid):
    """The voxels (N, 3) in the grid, each once.

    :raises SettingsError: there is none.
    """
    voxels = np.unique(voxels[isInside(voxels, grid)], axis=0)
    if not len(voxels):
        raise SettingsError(_("'{name}' lies outside of the volume.").format(name=name), _("Move it into the volume."))
    return voxels


def _dense(places):
    """Places (N, 3) on the line through places, in voxels, so near that no voxel on its way is left out."""
    pieces = [places[:1]]
    for start, end in itertools.pairwise(places):
        count = max(1, int(np.ceil(np.abs(end - start).max() / _STEP)))
        pieces.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(pieces)


def _filledOutline(outline, grid):
    """The voxels (N, 3) in an outline (N, 3) that lies in a slice."""
    across = int(np.ptp(outline, axis=0).argmin())
    ends = np.array([np.zeros(3, int), np.array(grid.GetDimensions()) - 1])
    ends[:, across] = rounded(outline[:, across].mean())
    points, lasso, image = vtk.vtkPoints(), vtk.vtkLassoStencilSource(), vtk.vtkImageStencilToImage()
    for place in outline:
        points.InsertNextPoint(place)
    lasso.SetShapeToPolygon()
    lasso.SetSliceOrientation(across)
    lasso.SetPoints(points)
    lasso.SetOutputWholeExtent(ends.T.ravel().tolist())
    image.SetInputConnection(lasso.GetOutputPort())
    image.Update()
    return np.argwhere(LabelMaps.imageToArray(image.GetOutput()))[:, ::-1] + ends[0]


def _voxelsInBox(node, segmentationNode, grid):
    """(K, J, I) bool, the voxels whose middles lie in a region or a plane, at least one voxel thick.

    :raises GeometryError: a non-linear transform bends the box or the segmentation.
    :raises SettingsError: none of it lies in the grid.
    """
    for bent in (node, segmentationNode):
        parent = bent.GetParentTransformNode()
        if parent and not parent.IsTransformToWorldLinear():
            raise GeometryError(
                _("'{name}' is under a non-linear transform, which bends boxes.").format(name=bent.GetName()),
                _("Use points or a segment, or harden the transform."),
            )
    center, edges = _box(node)
    middle = voxelsOf(center, segmentationNode, grid)[0]
    sides = voxelsOf(center + edges.T, segmentationNode, grid) - middle  # (3, 3), a row for each edge
    sides /= np.minimum(np.abs(sides).max(axis=1), 1)[:, None]
    toBox = np.linalg.inv(sides.T)
    i, j, k = (np.arange(count) - middle[axis] for axis, count in enumerate(grid.GetDimensions()))
    within = np.empty((len(k), len(j), len(i)), bool)
    plane = toBox[:, 0, None, None] * i + toBox[:, 1, None, None] * j[:, None]
    for place, depth in enumerate(k):
        within[place] = (np.abs(plane + (toBox[:, 2] * depth)[:, None, None]) <= 0.5 + _EDGE).all(0)
    if not within.any():
        raise SettingsError(
            _("'{name}' lies outside of the volume.").format(name=node.GetName()), _("Move it into the volume.")
        )
    return within


def _box(node):
    """Middle (3,) and edges (3, 3), a column for each, of a region or a plane; R, A, S in the world, mm."""
    if node.IsA("vtkMRMLMarkupsROINode"):
        matrix = slicer.util.arrayFromVTKMatrix(node.GetObjectToWorldMatrix())
        return matrix[:3, 3], matrix[:3, :3] * node.GetSize()
    points = vtk.vtkPoints()
    node.GetPlaneCornerPointsWorld(points)
    corners = np.array([points.GetPoint(index) for index in range(4)])
    first, second = corners[1] - corners[0], corners[3] - corners[0]
    normal = np.cross(first, second)
    length = np.linalg.norm(normal) or 1
    return corners.mean(0), np.stack([first, second, 1e-3 * normal / length], axis=1)  # a plane has no thickness


# Segments


def _drawn(shown, segmentationNode, segmentId, grid):
    """The voxels of a segment on a grid of another segmentation.

    :raises ClassesError: it is gone, or the one to correct.
    :raises DrawingError: it is empty.
    """
    node, segment = shown.node, shown.node.GetSegmentation().GetSegment(shown.segmentId)
    if segment is None:
        raise ClassesError(_("The segment that you chose is not there any more."), _("Choose another one."))
    if shown.isSegmentOf(segmentationNode) and shown.segmentId == segmentId:
        raise ClassesError(
            _("'{name}' is the segment to correct.").format(name=segment.GetName()),
            _("Draw what is missing or too much in a segment of its own, and choose that."),
        )
    LabelMaps.requireLabelmaps(node, segmentationNode)
    image = segment.GetRepresentation(LabelMaps.labelmapName())
    mask = LabelMaps.imageToArray(image) == segment.GetLabelValue()
    if not mask.any():
        raise DrawingError(_("'{name}' is empty.").format(name=segment.GetName()), _("Draw in it first."))
    toNode = Geometry.nodeToNode(segmentationNode, node) @ Geometry.gridMatrix(grid)
    toGrid = np.linalg.inv(toNode) @ Geometry.gridMatrix(image)
    _requireFew(int(np.count_nonzero(mask) * min(1, abs(np.linalg.det(toGrid)))), segment.GetName())
    places = np.argwhere(mask)[:, ::-1] + image.GetExtent()[::2]
    voxels = rounded(places @ toGrid[:3, :3].T + toGrid[:3, 3])
    if np.abs(toGrid[:3, :3]).max() > _FINE:  # its voxels hold several of the grid's
        read = SegmentMasks.read(node, [shown.segmentId], Geometry.makeGrid(toNode, grid.GetDimensions()))[0]
        voxels = np.concatenate([voxels, np.argwhere(read)[:, ::-1]])
    return _insideOnly(voxels, segment.GetName(), grid)
