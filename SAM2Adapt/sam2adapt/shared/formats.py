"""Formats of files, by suffix."""

LABEL_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".png")  # of label maps that can be written
OUTPUT_SUFFIXES = (*LABEL_SUFFIXES, ".dcm")  # of those and of DICOM segmentations
