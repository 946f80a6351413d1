"""The stream between Slicer and an engine on another computer: frames, packed files, and the words of both sides."""
