"""The effect as Slicer's Segment Editor knows it."""

from SAM2AdaptLib.Panels.Filling import Registration

NAME = "Correct with the model"  # by which the editor finds it, in every language
RESOURCES = Registration.RESOURCES
_SOURCE = RESOURCES.parent / "SAM2AdaptCorrectEffect" / "SegmentEditorCorrectWithModelEffect.py"


def register():
    """Make the effect known to all segment editors; as Slicer wants it, when the application has started."""
    makeEffect().self().register()


def makeEffect():
    """A new effect for one segment editor."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    effect.setPythonSource(_SOURCE.as_posix())
    return effect
