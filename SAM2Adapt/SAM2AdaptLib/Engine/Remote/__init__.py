"""The engine on another computer: where it is, how it is reached, and the relay between it and Slicer."""
