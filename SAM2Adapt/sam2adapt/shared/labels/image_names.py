"""Names of image files: the formats that are read and written, by suffix."""

import os
from pathlib import Path

LABEL_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".png")  # of label maps that can be written
OUTPUT_SUFFIXES = (*LABEL_SUFFIXES, ".dcm")  # of segmentations: label maps, and DICOM SEG

PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
#: Headers whose voxels are in another file.
DETACHED = (".nhdr", ".mhd", ".hdr", ".hdr.gz")
#: Formats that are read and not written.
READ_ONLY = (*DETACHED, ".mgz", ".mgh")
SEGMENTATION = ".seg.nrrd"
#: Of image and label files, as folders of cases or studies hold them; DICOM files have no suffix that one can rely on.
FILE_SUFFIXES = frozenset((*LABEL_SUFFIXES, *PICTURES, *READ_ONLY))
SUFFIXES = (*LABEL_SUFFIXES, *PICTURES, *READ_ONLY, ".img.gz")


def suffix_of(path: str | os.PathLike) -> str:
    """The format's suffix in lower case, ".seg.nrrd" and ".nii.gz" in one piece; the last suffix if unknown."""
    name = Path(path).name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), Path(name).suffix)


def stem_of(path: str | os.PathLike) -> str:
    """The file's name without the format's suffix."""
    name = Path(path).name
    return name[: len(name) - len(suffix_of(path))]
