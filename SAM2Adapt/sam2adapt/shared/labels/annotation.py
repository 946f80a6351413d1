"""Label values: those of classes, and the one of voxels that are not annotated."""

IGNORE = 255  # of voxels that are not annotated
LARGEST_CLASS = IGNORE - 1  # label values are bytes; 0 is the background
MASK_REMEDY = f"Voxels of {IGNORE} count as not annotated: give masks of 0 and {IGNORE} the value of their class."
