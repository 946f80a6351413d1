"""What leaves Slicer: segmentations as files of other programs, and pages that show them."""
