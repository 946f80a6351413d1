"""What a user has drawn: which structures, in which slices, and which slices were declared empty.

A structure is drawn in a slice if it has voxels there, or was declared to have none (``SliceTags``). Slices that were
filled earlier and have not been corrected since are not drawn: they are filled anew.
"""

from dataclasses import dataclass, field

import numpy as np
import slicer
from sam2adapt.shared import slicing_axis
from sam2adapt.shared.errors import DrawingError
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import Geometry, SegmentMasks, SliceTags

AXES = slicing_axis.ARRAY_AXES
_STROKE = 0.2  # area of a stroke, as a share of the drawings around it
_CAP = 0.75  # area at both ends of what a sphere brush leaves, as a share of its middle


@dataclass(eq=False)
class Drawings:
    """What the engine gets of a segmentation.

    :ivar grid: vtkOrientedImageData, the voxels that were drawn on.
    :ivar segmentIds: of the S segments that are filled.
    :ivar names: theirs, each once.
    :ivar masks: (S, K, J, I) uint8.
    :ivar empty: by name the slices that are declared empty, along ``axis``.
    :ivar axis: "K", "J" or "I", None if the engine has to see for itself.
    :ivar slices: for each structure a dict from array axis (0 to 2) to the slices that are drawn across it, those that
        are declared empty among them.
    :ivar notes: sentences about what was left out, or looks as if it was not meant.
    :ivar filled: by segment ID the voxels (K, J, I) of slices that were filled earlier, which ``masks`` leave out.
    """

    grid: object
    segmentIds: list
    names: list
    masks: np.ndarray
    empty: dict
    axis: str | None
    slices: list
    notes: list = field(default_factory=list)
    filled: dict = field(default_factory=dict)

    def current(self):
        """(S, K, J, I), what the segments hold: what is drawn and what was filled earlier."""
        masks = self.masks.copy()
        for index, segmentId in enumerate(self.segmentIds):
            if segmentId in self.filled:
                masks[index] |= self.filled[segmentId]
        return masks


def collect(volumeNode, segmentationNode, direction=None, segmentIds=None):
    """Read the drawings of a segmentation; nothing changes.

    :param direction: "axial", "coronal" or "sagittal"; None: as they were drawn, in two directions perhaps.
    :param segmentIds: which to fill; None: all that are visible and not marked as completed.
    :raises DrawingError: there is nothing to fill from.
    :raises VolumeError, GeometryError: as ``SegmentMasks.drawingGrid``.
    :raises ValueError: no such direction.
    """
    grid = SegmentMasks.drawingGrid(volumeNode, segmentationNode)
    axis = None if direction is None else axisOf(direction, grid, segmentationNode)
    ids, notes = (list(segmentIds), []) if segmentIds is not None else _editable(segmentationNode)
    masks = SegmentMasks.read(segmentationNode, ids, grid)
    filled = _takeFilled(segmentationNode, ids, masks)
    drawn = masks.any((1, 2, 3)) if ids else np.zeros(0, bool)
    ids, masks = [segmentId for segmentId, one in zip(ids, drawn, strict=True) if one], masks[drawn]
    if not ids:
        message = _("No structure of '{name}' is drawn in any slice.").format(name=segmentationNode.GetName())
        raise DrawingError(" ".join([message, *notes]), _("Draw a structure in two slices or more."))
    if filled:
        notes.append(_("Slices that were filled earlier are filled anew; those that you corrected count as drawn."))
    drawings = Drawings(grid, ids, [], masks, {}, axis, [], notes, filled)
    if axis is None and _isCrossed(masks):
        _describeCrossed(drawings, segmentationNode)
    else:
        _describeParallel(drawings, segmentationNode)
    return drawings


def _takeFilled(segmentationNode, ids, masks):
    """Take the slices that were filled out of masks.

    :return: by segment ID the voxels (K, J, I) that were taken out.
    """
    taken = {}
    for segmentId, mask in zip(ids, masks, strict=True):
        axis, places = SliceTags.filled(segmentationNode, segmentId, mask)
        if places:
            view, voxels = np.moveaxis(mask, AXES.index(axis), 0), np.zeros_like(mask)
            np.moveaxis(voxels, AXES.index(axis), 0)[places] = view[places]
            view[places] = 0
            taken[segmentId] = voxels
    return taken


def _describeCrossed(drawings, segmentationNode):
    """Fill in which slices of two directions are drawn."""
    drawings.names = _uniqueNames(segmentationNode, drawings.segmentIds)
    axes = _patchedAxes(drawings.masks)
    drawings.slices = [{k: np.flatnonzero(_patches(mask, k)).tolist() for k in axes} for mask in drawings.masks]
    drawings.notes += _unusedDeclarations(segmentationNode, drawings.segmentIds, drawings.names)


def _describeParallel(drawings, segmentationNode):
    """Fill in which slices of one direction are drawn or declared empty; leave out structures drawn in one only."""
    main = drawings.axis or drawnAxis(drawings.masks, drawings.grid)
    k = AXES.index(main)
    drawings.segmentIds, drawings.masks, said = _withoutLoneSlices(
        segmentationNode, drawings.segmentIds, drawings.masks, main
    )
    drawings.notes += said
    drawings.names = _uniqueNames(segmentationNode, drawings.segmentIds)
    for segmentId, name, mask in zip(drawings.segmentIds, drawings.names, drawings.masks, strict=True):
        drawings.notes += _doubts(name, mask, k)
        drawn = set(_occupied(mask, k).tolist())  # a drawing counts more than what was said before it
        places = SliceTags.empty(segmentationNode, segmentId, main)
        places = [place for place in places if place < mask.shape[k] and place not in drawn]
        if places:
            drawings.empty[name] = places
        drawings.slices.append({k: sorted({*drawn, *places})})
    if drawings.empty:
        drawings.axis = main


def drawnAxis(masks, grid):
    """The axis that slices lie across: the one with the largest share of undrawn slices between drawn ones.

    Without a gap the axis of the largest spacing, else that of the rows of slices in the file.
    """
    together = masks.any(0) if len(masks) else np.zeros(grid.GetDimensions()[::-1], bool)
    gaps = [_gapShare(_occupied(together, axis)) for axis in range(3)]
    if max(gaps) > 0:
        return AXES[int(np.argmax(gaps))]
    thin = [np.ptp(_occupied(together, axis)) == 0 if together.any() else False for axis in range(3)]
    if sum(thin) == 1:
        return AXES[thin.index(True)]
    spacing = grid.GetSpacing()[::-1]
    return AXES[int(np.argmax(np.array(spacing) > 0.99 * max(spacing)))]


def axisOf(direction, grid, segmentationNode):
    """The array axis across slices of a direction: "axial", "coronal" or "sagittal"."""
    return AXES[2 - Geometry.sliceNames(_toWorld(grid, segmentationNode)).index(direction)]


def slicesAcross(axis, grid, segmentationNode):
    """The ``Geometry.Slices`` across an array axis."""
    return Geometry.Slices(_toWorld(grid, segmentationNode), grid.GetDimensions(), 2 - AXES.index(axis))


def _toWorld(grid, segmentationNode):
    return Geometry.toWorld(segmentationNode, Geometry.gridMatrix(grid))


def _editable(segmentationNode):
    """IDs of the segments to fill, and sentences about the others."""
    logic, segmentation = slicer.vtkSlicerSegmentationsModuleLogic, segmentationNode.GetSegmentation()
    display = segmentationNode.GetDisplayNode()
    ids, notes = [], []
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        if display and not display.GetSegmentVisibility(segmentId):
            notes.append(_("'{name}' is hidden and left as it is.").format(name=segment.GetName()))
        elif logic.GetSegmentStatus(segment) == logic.Completed:
            notes.append(_("'{name}' is marked as completed and left as it is.").format(name=segment.GetName()))
        else:
            ids.append(segmentId)
    return ids, notes


def _withoutLoneSlices(segmentationNode, ids, masks, main):
    """The segments and masks without structures that are drawn in one slice only, and a sentence about each of these.

    :raises DrawingError: nothing is left.
    """
    lone = {
        segmentId for segmentId, mask in zip(ids, masks, strict=True)
        if len({*_occupied(mask, AXES.index(main)), *SliceTags.empty(segmentationNode, segmentId, main)}) < 2
    }  # fmt: skip
    names = [segmentationNode.GetSegmentation().GetSegment(segmentId).GetName() for segmentId in ids]
    said = [
        _("'{name}' is drawn in one slice only and stays as it is; draw a second one.").format(name=name)
        for segmentId, name in zip(ids, names, strict=True)
        if segmentId in lone
    ]
    kept = [segmentId not in lone for segmentId in ids]
    if not any(kept):
        message = _("Only one slice is drawn of {names}.").format(names=", ".join(f"'{name}'" for name in names))
        raise DrawingError(message, _("Draw a second one, beyond those that are to be filled."))
    return [segmentId for segmentId in ids if segmentId not in lone], masks[kept], said


def _uniqueNames(segmentationNode, segmentIds):
    names = []
    for segmentId in segmentIds:
        name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
        numbered = (name, *(f"{name} ({number})" for number in range(2, len(segmentIds) + 2)))
        names.append(next(free for free in numbered if free not in names))
    return names


def _doubts(name, mask, axis):
    """Sentences about slices that look like a stroke, or like what a sphere brush leaves in neighbouring slices."""
    places = _occupied(mask, axis)
    areas = np.moveaxis(mask, axis, 0)[places].sum((1, 2))
    notes = []
    for place, area, before, after in zip(places[1:-1], areas[1:-1], areas[:-2], areas[2:], strict=True):
        if area < _STROKE * min(before, after):
            notes.append(
                _("Slice {slice} of '{name}' looks like a stroke: draw the whole outline there, or erase it.").format(
                    slice=place + 1, name=name
                )
            )
    if _gapShare(places) == 0:
        return notes
    for run in np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) > 1) + 1):
        if len(run) > 2 and max(areas[run[0]], areas[run[-1]]) < _CAP * areas[run].max():
            notes.append(
                _(
                    "Slices {first} to {last} of '{name}' look as if a sphere brush drew them: draw in single slices,"
                    " with the option “Sphere brush” off."
                ).format(first=places[run[0]] + 1, last=places[run[-1]] + 1, name=name)
            )
    return notes


def _occupied(mask, axis):
    return np.flatnonzero(mask.any(tuple(k for k in range(3) if k != axis)))


def _gapShare(places):
    return 1 - len(places) / (places[-1] - places[0] + 1) if len(places) > 1 else 0.0


def _isCrossed(masks):
    """Whether slices of two directions are drawn: these leave no gap in any, only lines where they cross."""
    together = masks.any(0)
    return not any(_gapShare(_occupied(together, axis)) for axis in range(3)) and bool(_patchedAxes(masks))


def _patchedAxes(masks):
    """The array axes across which slices are drawn, where slices of two directions cross."""
    together = masks.any(0)
    return [axis for axis in range(3) if _gapShare(np.flatnonzero(_patches(together, axis)))]


def _patches(mask, axis):
    """(slices,) whether a mask has 2 x 2 voxels in a slice, and not only the lines of slices that cross it."""
    plane = np.moveaxis(mask, axis, 0) > 0
    return (plane[:, 1:, 1:] & plane[:, :-1, 1:] & plane[:, 1:, :-1] & plane[:, :-1, :-1]).any((1, 2))


def _unusedDeclarations(segmentationNode, ids, names):
    return [
        _("The slices declared empty of '{name}' are not used, because slices of two directions are drawn.").format(
            name=name
        )
        for segmentId, name in zip(ids, names, strict=True)
        if SliceTags.declared(segmentationNode, segmentId)
    ]
