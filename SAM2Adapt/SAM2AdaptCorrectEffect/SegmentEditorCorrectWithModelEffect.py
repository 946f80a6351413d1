"""The file that Slicer loads for the effect; it takes the class that is called as the file is."""

from SAM2AdaptLib.Panels.Correcting.CorrectEffect import CorrectEffect


class SegmentEditorCorrectWithModelEffect(CorrectEffect):
    """See ``CorrectEffect``."""
