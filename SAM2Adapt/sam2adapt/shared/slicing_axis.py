"""Axes along which volumes are cut into slices, by the names that model files, requests and panels use."""

ACQUISITION = "acquisition"  # along the axis of the largest spacing, whatever its direction
# Letters of the two ends of an axis in a patient, and its number in left-right, posterior-anterior, inferior-superior.
ENDS = {"axial": "SI", "coronal": "PA", "sagittal": "LR"}
NUMBERS = {"sagittal": 0, "coronal": 1, "axial": 2}
AXES = (*ENDS, ACQUISITION)

ARRAY_AXES = ("K", "J", "I")  # those of a volume's voxels, by the dimension of its array; K mostly counts slices
