"""What the tests of the effect *Correct with the model* share: the editor, and what a user does in its views."""

import numpy as np
import slicer
import vtk
from filling_testing import SHAPE

NAME = "Correct with the model"
PRESS, MOVE, RELEASE = (
    vtk.vtkCommand.LeftButtonPressEvent, vtk.vtkCommand.MouseMoveEvent, vtk.vtkCommand.LeftButtonReleaseEvent
)  # fmt: skip


class Mouse:
    """A vtkRenderWindowInteractor as effects read it."""

    def __init__(self, xy, isControl=False):
        self._xy, self._isControl = xy, isControl

    def GetEventPosition(self):
        return self._xy

    def GetControlKey(self):
        return int(self._isControl)

    def GetShiftKey(self):
        return 0

    GetAltKey = GetShiftKey


class CorrectPanel:
    """The Segment Editor on a volume and a segmentation, with the effect chosen and a segment selected."""

    def __init__(self, volumeNode, segmentationNode, engine, segment):
        slicer.util.selectModule("SegmentEditor")
        self.volume, self.segmentation, self.engine = volumeNode, segmentationNode, engine
        self.editor = slicer.util.getModuleWidget("SegmentEditor").editor
        self.editor.setSegmentationNode(segmentationNode)
        self.editor.setSourceVolumeNode(volumeNode)
        self.node = self.editor.mrmlSegmentEditorNode()
        self.choose(segment)
        self.editor.setActiveEffectByName(NAME)
        self.effect = self.editor.activeEffect().self()
        self.options = self.effect._options

    @property
    def message(self):
        return self.options.messageLabel.text

    def choose(self, segment):
        self.node.SetSelectedSegmentID(self.idOf(segment))

    def idOf(self, segment):
        return self.segmentation.GetSegmentation().GetSegmentIdBySegmentName(segment)

    def mask(self, segment):
        array = slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentation, self.idOf(segment), self.volume)
        return array > 0

    def position(self, voxel):
        matrix = vtk.vtkMatrix4x4()
        self.volume.GetIJKToRASMatrix(matrix)
        return matrix.MultiplyPoint((*voxel, 1))[:3]

    def drag(self, *voxels, isControl=False, view="Red"):
        """Press at a voxel (I, J, K) in a view, which goes to its slice; move over the others and release."""
        widget = slicer.app.layoutManager().sliceWidget(view)
        node = widget.mrmlSliceNode()
        node.JumpSliceByOffsetting(*self.position(voxels[0]))
        toView = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(node.GetXYToRAS(), toView)
        places = [toView.MultiplyPoint((*self.position(voxel), 1))[:2] for voxel in voxels]
        events = [(PRESS, places[0]), *((MOVE, place) for place in places[1:]), (RELEASE, places[-1])]
        return [self.effect.processInteractionEvents(Mouse(place, isControl), event, widget) for event, place in events]

    click = drag

    def answer(self, change, **report):
        """Answer the last request as the engine does: the mask that was sent, changed by a function of it."""
        request = self.engine.last
        mask = np.load(request.params["labels"])
        np.save(request.params["masks"], change(mask.copy()))
        changed = int(np.count_nonzero(change(mask.copy()) != mask))
        request.sendResult(
            {"output": request.params["masks"], "axis": "K", "slices": [5], "carried": [], "changed": changed}
            | {"knowsStructure": True, "takesPrompts": False} | report
        )  # fmt: skip


def offset(request):
    """First K of what a request holds."""
    return request.params["roi"][4] if request.params.get("roi") else 0


def filledIn(request, k, rows, columns, value=1):
    """A change: a rectangle of a slice, or of a range of slices."""
    first = offset(request)
    places = slice(k.start - first, k.stop - first) if isinstance(k, slice) else k - first

    def change(mask):
        mask[places, rows, columns] = value
        return mask

    return change


__all__ = ["NAME", "SHAPE", "CorrectPanel", "Mouse", "filledIn", "offset"]
