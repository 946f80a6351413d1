"""The Slicer side of SAM2Adapt, shared by both modules: imports slicer, vtk and qt, never torch."""
