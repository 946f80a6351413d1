"""Image files that are no DICOM: headers, place, declared and stored sizes, and voxels."""
