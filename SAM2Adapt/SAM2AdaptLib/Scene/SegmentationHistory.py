"""Undo of automatic runs: the segments that a run replaces are kept, and the ones it adds are known.

Undo changes what the run changed and nothing else: segments that the user has edited since then stay.
"""

from contextlib import contextmanager

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from SAM2AdaptLib.Scene import LabelMaps, NewNodes

MAXIMUM_STATES = 3

_kept = {}  # ID of a segmentation node: (weak reference to it, its states)


@contextmanager
def recorded(segmentationNode, names, keep=True):
    """Make what happens to a segmentation in the block undoable; if the block fails, it is undone at once.

    :param names: names of the segments that the block may change; it may add any, and leaves all others alone.
    :param keep: whether it can be undone later; False where others keep what undo needs.
    """
    state, stamps = _SegmentsState(segmentationNode, names), _stamps(segmentationNode)
    try:
        yield
    except BaseException:
        if _stamps(segmentationNode) != stamps:
            state.restore(segmentationNode)
        raise
    if keep:
        state.closeWith(segmentationNode)
        push(segmentationNode, state)


def recordCreated(segmentationNode):
    """Make undoable that a run created this node with all the segments that it has now."""
    state = _SegmentsState(segmentationNode, names=(), isNew=True)
    state.closeWith(segmentationNode)
    push(segmentationNode, state)


def push(segmentationNode, state):
    """Add a state of the segmentation before a run.

    :param state: has ``restore(segmentationNode)``, which gives the state that does the reverse, or None;
      ``changed(segmentationNode)``, the names of segments that the user has changed since the run; and
      ``keepsChanges``, whether restore leaves these as they are.
    """
    states = _statesOf(segmentationNode)
    if not states:
        reference = vtk.vtkWeakReference()
        reference.Set(segmentationNode)
        _kept[segmentationNode.GetID()] = reference, states
    states.append(state)
    del states[:-MAXIMUM_STATES]


def canUndo(segmentationNode):
    """Whether there is a run on this segmentation to undo."""
    return bool(_statesOf(segmentationNode))


def changedSinceRun(segmentationNode):
    """Names of the segments that the last run made or replaced and that the user has changed since."""
    states = _statesOf(segmentationNode)
    return states[-1].changed(segmentationNode) if states else []


def keepsChanges(segmentationNode):
    """Whether ``undo`` keeps what the user has changed since the run; it cannot where time points were segmented."""
    states = _statesOf(segmentationNode)
    return not states or states[-1].keepsChanges


def undo(segmentationNode):
    """Undo the last run on a segmentation; a node that the run created is removed, if nothing of the user is in it.

    :return: Undone, None if there was nothing to undo.
    """
    if not canUndo(segmentationNode):
        return None
    return Undone(segmentationNode, _statesOf(segmentationNode).pop())


class Undone:
    """A run that was undone.

    :ivar kept: names of the segments that stayed because the user has changed them since the run.
    :ivar canRedo: whether ``redo`` can bring the run's result back.
    """

    def __init__(self, segmentationNode, state):
        self._node, self._state = segmentationNode, state
        self._belongings = NewNodes.belongings(segmentationNode)  # removed with the node, if it is
        self.kept = state.changed(segmentationNode) if state.keepsChanges else []
        self._inverse = state.restore(segmentationNode)
        self.canRedo = self._inverse is not None

    def redo(self):
        """Bring back what the run made; it can be undone again.

        :return: the segmentation node.
        """
        if self._node.GetScene() is None:
            NewNodes.addAgain(self._node, self._belongings)
        self._inverse.restore(self._node)
        push(self._node, self._state)
        self.canRedo = False
        return self._node


def forget(segmentationNode):
    """Drop what was kept for undo."""
    _statesOf(segmentationNode).clear()


def _statesOf(segmentationNode):
    """The states of a segmentation, the oldest first; those of nodes that have left the scene are dropped."""
    for nodeId, (reference, _) in list(_kept.items()):
        node = reference.Get()
        if node is None or node.GetScene() is None:
            del _kept[nodeId]
    reference, states = _kept.get(segmentationNode.GetID(), (None, []))
    return states if reference and reference.Get() is segmentationNode else []


class _SegmentsState:
    """The named segments of a segmentation node, its grid, and which other segments there are."""

    keepsChanges = True

    def __init__(self, segmentationNode, names, isNew=False):
        segmentation = segmentationNode.GetSegmentation()
        ids = [] if isNew else list(segmentation.GetSegmentIDs())
        self._isNew = isNew
        self._formerIds = ids
        self._addedIds, self._after = None, {}
        self._source = segmentation.GetSourceRepresentationName()
        self._grid = segmentation.GetConversionParameter(_gridParameter())
        self._gridVolumeId = segmentationNode.GetNodeReferenceID(_gridRole(segmentationNode))
        self._copies = _copySegments(segmentation, [i for i in ids if segmentation.GetSegment(i).GetName() in names])

    def closeWith(self, segmentationNode):
        """The run ended: what is there and was not there before is its result."""
        segmentation = segmentationNode.GetSegmentation()
        self._addedIds = [i for i in segmentation.GetSegmentIDs() if i not in self._formerIds]
        self._after = described(segmentation, [*self._addedIds, *self._copies])

    def changed(self, segmentationNode):
        """Names of the segments of the run that are no longer as it left them."""
        ids = self._changedIds(segmentationNode)
        return [self._after[segmentId][0] for segmentId in ids]

    def _changedIds(self, segmentationNode):
        now = described(segmentationNode.GetSegmentation(), self._after)
        return [segmentId for segmentId, former in self._after.items() if now[segmentId] not in (None, former)]

    def restore(self, segmentationNode):
        """Bring the former segments back, except where the user has changed the new ones.

        :return: the state that does the reverse.
        """
        segmentation, isOpen = segmentationNode.GetSegmentation(), self._addedIds is None
        if isOpen:  # the run failed, and what it left is not worth keeping
            self.closeWith(segmentationNode)
        changed = [] if isOpen else self._changedIds(segmentationNode)
        added = [i for i in self._addedIds if segmentation.GetSegment(i) and i not in changed]
        copies = {i: copy for i, copy in self._copies.items() if i not in changed}
        names = {segmentation.GetSegment(i).GetName() for i in (*added, *copies) if segmentation.GetSegment(i)}
        inverse = _SegmentsState(segmentationNode, names)
        with slicer.util.NodeModify(segmentationNode):
            if segmentation.GetNumberOfSegments() == 0:
                segmentation.SetSourceRepresentationName(self._source)
            with LabelMaps.keepingOthers(segmentation, [*added, *copies]):
                for segmentId in added:
                    segmentation.RemoveSegment(segmentId)
                for segmentId, copy in copies.items():
                    _putBack(segmentation, segmentId, copy)
            if not changed:
                self._restoreGrid(segmentationNode)
        inverse.closeWith(segmentationNode)
        if self._isNew and segmentation.GetNumberOfSegments() == 0:
            NewNodes.removeNode(segmentationNode)
        return inverse

    def _restoreGrid(self, segmentationNode):
        segmentation = segmentationNode.GetSegmentation()
        if segmentation.GetNumberOfSegments() == 0:
            segmentation.SetSourceRepresentationName(self._source)
        there = [i for i in self._formerIds if segmentation.GetSegment(i)]
        if [i for i in segmentation.GetSegmentIDs() if i in there] != there:
            segmentation.ReorderSegments(there)
        segmentation.SetConversionParameter(_gridParameter(), self._grid)
        segmentationNode.SetNodeReferenceID(_gridRole(segmentationNode), self._gridVolumeId)


def described(segmentation, segmentIds):
    """Dict from segment ID to (name, contents), None for absent segments; contents is None without label maps."""
    there = [segmentId for segmentId in segmentIds if segmentation.GetSegment(segmentId)]
    isStored = segmentation.GetSourceRepresentationName() == LabelMaps.labelmapName()
    sums = LabelMaps.contents(segmentation, there) if isStored else {}
    described = {i: (segmentation.GetSegment(i).GetName(), sums.get(i)) for i in there}
    return {segmentId: described.get(segmentId) for segmentId in segmentIds}


def _stamps(segmentationNode):
    """Modification times of everything in a segmentation."""
    segmentation = segmentationNode.GetSegmentation()
    segments = [segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()]
    data = [segment.GetRepresentation(name) for segment in segments for name in _representationNames(segment)]
    return [item.GetMTime() for item in (segmentationNode, segmentation, *segments, *data)]


def _copySegments(segmentation, segmentIds):
    """Dict from ID to a copy; segments that share a label map share its copy, which holds no other segment."""
    copies, values, result = {}, {}, {}  # the first two by the address of the original: VTK's data cannot be hashed
    for segmentId in segmentIds:
        segment = segmentation.GetSegment(segmentId)
        copy = slicer.vtkSegment()
        _copyDescription(segment, copy)
        for name in _representationNames(segment):
            original = segment.GetRepresentation(name)
            address = original.GetAddressAsString("")
            if address not in copies:
                copies[address] = original.NewInstance()
                copies[address].DeepCopy(original)
            copy.AddRepresentation(name, copies[address])
            values.setdefault(address, []).append(segment.GetLabelValue())
        result[segmentId] = copy
    for address, copy in copies.items():
        if copy.IsA("vtkImageData") and copy.GetPointData().GetScalars():
            _keepValues(vtk_to_numpy(copy.GetPointData().GetScalars()), values[address])
    return result


def _keepValues(voxels, values):
    """Set all other values of an array of labels to 0, in place."""
    kept = np.zeros(max(int(voxels.max(initial=0)), *values) + 1, voxels.dtype)
    kept[values] = values
    voxels[...] = kept[voxels]


def _copyDescription(source, target):
    target.DeepCopyMetadata(source)
    target.SetNameAutoGenerated(source.GetNameAutoGenerated())
    target.SetColorAutoGenerated(source.GetColorAutoGenerated())


def _putBack(segmentation, segmentId, copy):
    """Give a segment its former content, in place, so that its visibility in the views stays."""
    segment = segmentation.GetSegment(segmentId)
    if segment is None:
        segmentation.AddSegment(copy, segmentId)
        return
    # Its voxels must leave a label map that it may share with segments of the user.
    segmentation.SeparateSegmentLabelmap(segmentId)
    segment.RemoveAllRepresentations()
    _copyDescription(copy, segment)
    for name in _representationNames(copy):
        segment.AddRepresentation(name, copy.GetRepresentation(name))


def _representationNames(segment):
    names = []
    segment.GetContainedRepresentationNames(names)
    return names


def _gridParameter():
    return slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()


def _gridRole(segmentationNode):
    return segmentationNode.GetReferenceImageGeometryReferenceRole()
