"""What the model finds in a validation case while it is trained, as a segmentation over the image."""

import numpy as np
import slicer
from sam2adapt.shared.errors import UserError
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import LabelImport

OPACITY = 0.5


class Preview:
    """One segmentation node, updated after each validation and removed at the end."""

    def __init__(self):
        self._nodeId = None

    def update(self, path, volumeNode, structures):
        """Show the labels of a file over a volume.

        :param path: ``.npy`` file of labels (K, J, I) on the volume's grid.
        :param volumeNode: None, for instance because it was removed, shows nothing.
        :param structures: list of dicts with "id", "name" and "color".
        """
        if volumeNode is None:
            return
        try:
            labels = np.load(path, allow_pickle=False)
            node = LabelImport.importLabels(volumeNode, labels, structures, self._node())
        except (OSError, ValueError, UserError):
            return  # the next one is written already, or the volume was changed; the training has a copy
        if self._nodeId is None:
            # Hidden from the lists of nodes: it is not the user's, nor a case to train on.
            node.SetHideFromEditors(True)
            node.SetSaveWithScene(False)
            node.SetName(_("{name} preview").format(name=volumeNode.GetName()))
            node.GetDisplayNode().SetSaveWithScene(False)
            node.GetDisplayNode().SetOpacity(OPACITY)
            self._nodeId = node.GetID()

    def remove(self):
        """Take the preview away."""
        if node := self._node():
            slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
            slicer.mrmlScene.RemoveNode(node)
        self._nodeId = None

    def _node(self):
        node = slicer.mrmlScene.GetNodeByID(self._nodeId) if self._nodeId else None
        if node is None:
            self._nodeId = None
        return node
