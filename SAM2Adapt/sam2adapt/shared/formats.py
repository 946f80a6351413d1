"""Formats of files, by suffix."""

LABEL_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".png")  # of label maps that can be written
