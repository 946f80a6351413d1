"""The effect as Slicer's Segment Editor knows it."""

from pathlib import Path

NAME = "Fill from drawn slices"  # by which the editor finds it, in every language
_MODULE = Path(__file__).parents[3]
RESOURCES = _MODULE / "Resources"
# In a separate folder, because Slicer makes a Python module named after it.
_SOURCE = _MODULE / "SAM2AdaptSegmentEditor" / "SegmentEditorFillFromDrawnSlicesEffect.py"


def register():
    """Make the effect known to all segment editors; as Slicer wants it, when the application has started."""
    makeEffect().self().register()


def makeEffect():
    """A new effect for one segment editor."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(_SOURCE.as_posix())
    return effect
