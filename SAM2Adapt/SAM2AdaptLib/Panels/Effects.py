"""The effects of this extension in Slicer's Segment Editor: how the editor knows them, and what they have in common."""

from pathlib import Path

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

FILL, CORRECT = "Fill from drawn slices", "Correct with the model"  # by which the editor finds them, in every language
_MODULE = Path(__file__).parents[2]
# Folder and file of each; one folder for each, because Slicer makes a Python module named after it.
_SOURCES = {
    FILL: ("SAM2AdaptSegmentEditor", "FillFromDrawnSlices"),
    CORRECT: ("SAM2AdaptCorrectEffect", "CorrectWithModel"),
}


def register():
    """Make the effects known to all segment editors; as Slicer wants it, when the application has started."""
    for name in _SOURCES:
        make(name).self().register()


def make(name):
    """A new effect for one segment editor."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    folder, stem = _SOURCES[name]
    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource((_MODULE / folder / f"SegmentEditor{stem}Effect.py").as_posix())
    return effect


class Effect:
    """Comes before Slicer's class in the bases of an effect, which has ``_showSegments`` and ``_options`` with ``say``.

    :cvar NAME: one of the names above.
    """

    def __init__(self, scriptedEffect):
        super().__init__(scriptedEffect)
        scriptedEffect.name = self.NAME
        self._observers = VTKObservationMixin()

    def activate(self):
        """Called when the user opens the effect: from now on it follows the segments.

        The editor tells effects when their own parameters change, not when segments come, go or are chosen.
        """
        self.deactivate()
        segmentation, events = self._segmentationNode().GetSegmentation(), slicer.vtkSegmentation
        for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified):
            self._observers.addObserver(segmentation, event, self._onSegments)
        self._observers.addObserver(
            self.scriptedEffect.parameterSetNode(), vtk.vtkCommand.ModifiedEvent, self._onSegments
        )

    def deactivate(self):
        """Called when the user leaves the effect."""
        self._observers.removeObservers()

    def cleanup(self):
        """Called before the effect is deleted."""
        self.deactivate()
        super().cleanup()

    def _onSegments(self, caller, event):
        if self._segmentationNode():
            self._showSegments()

    def clone(self):
        """A new effect for another segment editor."""
        return make(self.NAME)

    def icon(self):
        """The picture on the editor's button."""
        return qt.QIcon(str(_MODULE / "Resources" / "Icons" / f"{_SOURCES[self.NAME][1]}.png"))

    def _say(self, text):
        self._options.say(text)

    def _segmentationNode(self):
        parameters = self.scriptedEffect.parameterSetNode()
        return parameters.GetSegmentationNode() if parameters else None

    def _volumeNode(self):
        parameters = self.scriptedEffect.parameterSetNode()
        return parameters.GetSourceVolumeNode() if parameters else None


def helpText(steps, remarks):
    """Numbered steps and a paragraph, as the editor shows them above the options."""
    return f"<html><ol>{''.join(f'<li>{step}</li>' for step in steps)}</ol><p>{remarks}</p></html>"
