"""What both the engine and Slicer's side need: the standard library and NumPy only."""
