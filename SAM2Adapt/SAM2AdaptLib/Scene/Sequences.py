"""Volumes that change over time: their time points, and results that follow the same browser.

A browser shows one item of each sequence by a proxy node in the scene; the items themselves live in the sequence, so
all of them are read and written without moving the user's time slider.
"""

import slicer
from sam2adapt.shared.errors import GeometryError
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import LabelImport, NewNodes, Results, SegmentationHistory


def browserOf(node):
    """The vtkMRMLSequenceBrowserNode that shows a sequence by this proxy node, or None."""
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    return next((browser for browser in browsers if browser.GetSequenceNode(node)), None)


def timePoints(volumeNode):
    """Number of time points of a volume; 1 for an ordinary volume."""
    return len(items(volumeNode))


def items(volumeNode):
    """List of (index value, volume node) of a volume's time points; an ordinary volume is its own one, without value.

    The nodes are those inside the sequence: they are in no scene and have no parent transform.
    """
    browser = browserOf(volumeNode)
    if browser is None:
        return [(None, volumeNode)]
    sequence = browser.GetSequenceNode(volumeNode)
    return [(sequence.GetNthIndexValue(n), sequence.GetNthDataNode(n)) for n in range(sequence.GetNumberOfDataNodes())]


def currentItem(volumeNode):
    """(index value, volume node) of the time point that is shown."""
    browser = browserOf(volumeNode)
    if browser is None:
        return None, volumeNode
    sequence = browser.GetSequenceNode(volumeNode)
    value = browser.GetMasterSequenceNode().GetNthIndexValue(browser.GetSelectedItemNumber())
    number = sequence.GetItemNumberFromIndexValue(value, False)
    return sequence.GetNthIndexValue(number), sequence.GetNthDataNode(number)


class SequenceTarget:
    """Results of several time points, kept outside of the scene until all are there.

    They become a sequence that the browser of the volume shows by one segmentation node. Segments that are in a given
    segmentation are kept at all time points.

    :param volumeNode: proxy node of the volume sequence.
    :param segmentationNode: segmentation to put the results into, or None for a new one; if the browser of the volume
      shows a sequence by it already, the items of that sequence are changed.
    :param existing: see ``LabelImport.importLabels``.
    :raises GeometryError: the segmentation is under another transform than the volume.
    """

    def __init__(self, volumeNode, segmentationNode, existing):
        if segmentationNode and segmentationNode.GetTransformNodeID() != volumeNode.GetTransformNodeID():
            raise GeometryError(
                _("Segmentation '{segmentation}' is under another transform than the sequence of '{volume}'.").format(
                    segmentation=segmentationNode.GetName(), volume=volumeNode.GetName()
                ),
                _("Put both under the same transform, or choose a new segmentation."),
            )
        self._volumeNode = volumeNode
        self._segmentationNode = segmentationNode
        self._existing = existing
        self._browser = browserOf(volumeNode)
        self._sequence = self._browser.GetSequenceNode(segmentationNode) if segmentationNode else None
        # Slicer's import makes a display node, which needs a scene; this scene stays hidden.
        self._scene = slicer.vtkMRMLScene()
        self._segmentations = {}  # index value: segmentation node in that scene
        self._uncertainties = {}
        self.nodes = [segmentationNode, self._browser, self._browser.GetSequenceNode(volumeNode), self._sequence]

    def add(self, indexValue, volumeNode, labels, structures, uncertainty):
        """Take the result of one time point; the scene does not change."""
        segmentationNode = self._formerItem(indexValue)
        LabelImport.importLabels(volumeNode, labels, structures, segmentationNode, self._existing)
        self._segmentations[indexValue] = segmentationNode
        if uncertainty is not None:
            node = slicer.vtkMRMLScalarVolumeNode()
            NewNodes.fillVolume(node, uncertainty, volumeNode)
            self._uncertainties[indexValue] = node

    def commit(self, found):
        """Put everything into the scene.

        :param found: whether the model found any structure; without one no new segmentation is made.
        :return: (segmentation node or None, uncertainty volume node or None), both proxies of the volume's browser.
        """
        segmentationNode, uncertaintyNode = self._segmentationNode, None
        if self._sequence:
            self._replaceItems()
        elif found or segmentationNode:
            segmentationNode = self._addSegmentations(segmentationNode)
        if self._uncertainties:
            uncertaintyNode = newUncertaintyNode(self._volumeNode)
            if len(self._uncertainties) > 1:
                self._addSequence(uncertaintyNode, self._uncertainties)
            else:
                uncertaintyNode.CopyContent(next(iter(self._uncertainties.values())), False)
        return segmentationNode, uncertaintyNode

    def _formerItem(self, indexValue):
        """A copy of what the segmentation holds at a time point, in the hidden scene."""
        former = self._segmentationNode
        if self._sequence:
            former = self._sequence.GetDataNodeAtValue(indexValue, True)
        copy = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        if former:
            copy.CopyContent(former, True)
        return copy

    def _replaceItems(self):
        state = _ItemsState(self._browser, self._sequence, self._segmentations)
        for indexValue, node in self._segmentations.items():
            self._sequence.SetDataNodeAtValue(node, indexValue)
        _updateProxies(self._browser)
        state.close()
        SegmentationHistory.push(self._segmentationNode, state)

    def _addSegmentations(self, segmentationNode):
        isNew = segmentationNode is None
        if isNew:
            segmentationNode = NewNodes.createSegmentationNode(self._volumeNode)
        former = segmentationNode.GetSegmentation()
        role = segmentationNode.GetReferenceImageGeometryReferenceRole()
        formerVolumeId = segmentationNode.GetNodeReferenceID(role)
        sequence = self._addSequence(segmentationNode, self._segmentations)
        if isNew or not formerVolumeId:
            segmentationNode.SetNodeReferenceID(role, self._volumeNode.GetID())
        state = _SequenceState(self._browser, sequence, None if isNew else former, formerVolumeId)
        state.close()
        SegmentationHistory.push(segmentationNode, state)
        return segmentationNode

    def _addSequence(self, proxyNode, nodes):
        """A sequence of nodes (a dict from index value), shown by the proxy node along with the volume."""
        pattern = self._browser.GetSequenceNode(self._volumeNode)
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{proxyNode.GetName()} sequence")
        sequence.SetIndexName(pattern.GetIndexName())
        sequence.SetIndexUnit(pattern.GetIndexUnit())
        sequence.SetIndexType(pattern.GetIndexType())
        for indexValue, node in nodes.items():
            sequence.SetDataNodeAtValue(node, indexValue)
        with slicer.util.NodeModify(self._browser):
            self._browser.AddSynchronizedSequenceNode(sequence.GetID())
            # So that what the user corrects is kept when the time slider moves; before the proxy is there, because
            # else the first item would be copied into the proxy's former segmentation, which undo needs.
            self._browser.SetSaveChanges(sequence, True)
            self._browser.AddProxyNode(proxyNode, sequence, False)
        _updateProxies(self._browser)
        return sequence


def _updateProxies(browser):
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)


def newUncertaintyNode(volumeNode):
    """A node for the uncertainty of the voxels of a volume, in the place of that of an earlier run."""
    if former := Results.uncertaintyOf(volumeNode):
        removeUncertainty(former)
    node = NewNodes.createUncertaintyNode(volumeNode)
    Results.markUncertainty(node, volumeNode)
    return node


def removeUncertainty(node):
    """Remove the uncertainty of a run, with its sequence if it has one.

    :return: function that puts it back; None for a sequence.
    """
    browser = browserOf(node)
    if browser:
        sequence = browser.GetSequenceNode(node)
        browser.RemoveSynchronizedSequenceNode(sequence.GetID())
        NewNodes.removeNode(sequence)
    itsBelongings = NewNodes.belongings(node)
    NewNodes.removeNode(node)
    return None if browser else lambda: NewNodes.addAgain(node, itsBelongings)


class _State:
    """What undo knows of a sequence of segmentations; it cannot keep what the user has changed since the run."""

    keepsChanges = False

    def __init__(self, browser, sequence):
        self._browserId, self._sequenceId = browser.GetID(), sequence.GetID()
        self._after = {}

    def close(self):
        """The run ended: what the sequence holds now is its result."""
        self._after = self._contents()

    def changed(self, segmentationNode):
        """Names of the segments of the run that are no longer as it left them, at any time point."""
        now, names = self._contents(), set()
        for indexValue, segments in self._after.items():
            names |= {name for i, (name, sums) in segments.items() if now.get(indexValue, {}).get(i) != (name, sums)}
        return sorted(names)

    def _contents(self):
        sequence = slicer.mrmlScene.GetNodeByID(self._sequenceId)
        contents = {}
        for n in range(sequence.GetNumberOfDataNodes() if sequence else 0):
            segmentation = sequence.GetNthDataNode(n).GetSegmentation()
            ids = list(segmentation.GetSegmentIDs())
            contents[sequence.GetNthIndexValue(n)] = SegmentationHistory.described(segmentation, ids)
        return contents


class _SequenceState(_State):
    """Before a segmentation became one that changes over time; the former one is None if the run created the node."""

    def __init__(self, browser, sequence, segmentation, gridVolumeId):
        super().__init__(browser, sequence)
        self._segmentation = segmentation
        self._gridVolumeId = gridVolumeId

    def restore(self, segmentationNode):
        browser = slicer.mrmlScene.GetNodeByID(self._browserId)
        sequence = slicer.mrmlScene.GetNodeByID(self._sequenceId)
        if browser and sequence:
            browser.RemoveSynchronizedSequenceNode(self._sequenceId)
        if sequence:
            NewNodes.removeNode(sequence)
        if self._segmentation is None:
            NewNodes.removeNode(segmentationNode)
        else:
            segmentationNode.SetAndObserveSegmentation(self._segmentation)
            role = segmentationNode.GetReferenceImageGeometryReferenceRole()
            segmentationNode.SetNodeReferenceID(role, self._gridVolumeId)
        # There is no way back: a sequence that was removed is gone.


class _ItemsState(_State):
    """The items of a segmentation sequence before a run replaced them."""

    def __init__(self, browser, sequence, indexValues):
        super().__init__(browser, sequence)
        self._items = {value: sequence.GetDataNodeAtValue(value, True) for value in indexValues}

    def restore(self, segmentationNode):
        browser = slicer.mrmlScene.GetNodeByID(self._browserId)
        sequence = slicer.mrmlScene.GetNodeByID(self._sequenceId)
        if not browser or not sequence:
            return
        for indexValue, node in self._items.items():
            if node:
                sequence.SetDataNodeAtValue(node, indexValue)
            else:
                sequence.RemoveDataNodeAtValue(indexValue)
        _updateProxies(browser)
