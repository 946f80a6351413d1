"""How label maps say that nobody looked."""

IGNORE = 255  # label value of voxels that are not annotated
