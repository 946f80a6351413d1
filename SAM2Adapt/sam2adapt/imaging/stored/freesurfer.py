"""FreeSurfer's volumes (.mgz, .mgh): images and label maps whose values are those of its colour table.

The form is that of https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat; all numbers are big-endian.
"""

from pathlib import Path

import numpy as np

from ...shared import paths
from ...shared.errors import InputFileError, VolumeError
from .declared_size import GZIP, Unpacked, check_gzip, check_plain, enough_memory, too_short
from .stored_image import StoredImage, checked_place

SUFFIXES = (".mgz", ".mgh")
_HEADER = np.dtype([
    ("version", ">i4"), ("size", ">i4", (3,)), ("frames", ">i4"), ("type", ">i4"), ("dof", ">i4"), ("placed", ">i2"),
    ("spacing", ">f4", (3,)), ("axes", ">f4", (3, 3)), ("centre", ">f4", (3,))])  # fmt: skip
_START = 284
_TYPES = {0: "u1", 1: "i4", 3: "f4", 4: "i2", 10: "u2"}
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_freesurfer(path: Path) -> bool:
    """True if the name is that of a volume of FreeSurfer."""
    return path.name.lower().endswith(SUFFIXES)


def read_freesurfer(path: Path) -> StoredImage:
    """Read a volume.

    :raises InputFileError: damaged, truncated, or an unknown type. :raises VolumeError: several frames, sheared axes.
    """
    with paths.open_file(path) as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        stream = Unpacked(file, path) if packed else file
        header = stream.read(_HEADER.itemsize)
        if len(header) < _HEADER.itemsize or int.from_bytes(header[:4], "big") != 1:
            raise InputFileError(
                f"{path} cannot be read: it is damaged or no image; it does not begin with a header of FreeSurfer.",
                "Copy or download the file again, or give it the suffix of its format.",
            )
        fields = np.frombuffer(header, _HEADER)[0]
        kind = _checked_type(fields, path)
        i, j, k = (int(n) for n in fields["size"])
        what, declared = f"{i} x {j} x {k} voxels of {kind.name}", i * j * k * kind.itemsize
        if packed:
            check_gzip(path, 0, _START + declared, what, _START)
        else:
            check_plain(path, _START, declared, what)
        place = checked_place(_affine(fields), (i, j, k), path)
        stream.read(_START - len(header))
        with enough_memory(path):
            array = np.empty((k, j, i), kind)
        stored = stream.readinto(memoryview(array.reshape(-1).view(np.uint8)))
        if stored < declared:
            raise too_short(path, declared, stored, what)
        if packed:
            stream.skip()  # what follows belongs to the checksum
    notes = [place.note] if place.note else []
    if fields["placed"] != 1:
        notes.append(
            f"{path} does not say how it lies in the patient; it was taken as coronal with voxels of 1 mm, as by"
            " FreeSurfer."
        )
    return StoredImage(
        array.byteswap(inplace=True).view(kind.newbyteorder("=")), place.origin, place.spacing, place.direction,
        notes=tuple(notes),
    )  # fmt: skip


def _checked_type(fields: np.ndarray, path: Path) -> np.dtype:
    if (fields["size"] <= 0).any():
        raise VolumeError(
            f"{path} has an axis of size zero: {' x '.join(map(str, fields['size']))} voxels.",
            "Choose a file that holds an image.",
        )
    if fields["frames"] > 1:
        raise VolumeError(
            f"{path} is a 4-D volume of {fields['frames']} frames.",
            "Save one of them as a file of its own, with FreeSurfer's mri_convert for instance.",
        )
    if int(fields["type"]) not in _TYPES:
        raise InputFileError(f"{path} has voxels of an unknown type ({fields['type']}).", "Save it with mri_convert.")
    return np.dtype(_TYPES[int(fields["type"])]).newbyteorder(">")


def _affine(fields: np.ndarray) -> np.ndarray:
    """(4, 4) to LPS mm; the file gives the place of the centre."""
    axes, spacing, centre = np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]]).T, np.ones(3), np.zeros(3)
    if fields["placed"] == 1:
        axes, spacing = fields["axes"].astype(np.float64).T, fields["spacing"].astype(np.float64)
        centre = fields["centre"].astype(np.float64)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ (fields["size"] / 2.0)
    return _TO_LPS @ affine
