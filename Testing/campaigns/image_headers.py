"""Tries with image headers: fields with odd values, other bytes, files that are cut short, pipes."""

import gzip
import os
import random
import struct
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from children import tried_in_turn, verdict
from outcomes import SURVIVED, Found
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from world import World

IMAGES = 10  # of a try, in one child
_KINDS = (".nii", ".nii.gz", ".nrrd", ".mha", ".dcm", "series")
#: Offset, type and number of the fields of a NIfTI header that a reader goes by.
_NIFTI = (
    (0, "i", 1), (40, "h", 8), (68, "h", 1), (70, "h", 1), (72, "h", 1), (76, "f", 8), (108, "f", 1), (112, "f", 2),
    (123, "B", 1), (252, "h", 2), (256, "f", 6), (280, "f", 12), (344, "B", 4), (348, "B", 4),
)  # fmt: skip
_ODD_NUMBERS = (0, 1, -1, 2, 3, 7, 8, 255, 32767, -32768, 1e-40, 1e38, -1e38, 0.5, float("nan"), float("inf"))
#: Elements of a DICOM image that a reader goes by, with their type.
_DICOM = {
    "PixelSpacing": "DS", "ImageOrientationPatient": "DS", "ImagePositionPatient": "DS", "SliceThickness": "DS",
    "SpacingBetweenSlices": "DS", "RescaleSlope": "DS", "RescaleIntercept": "DS", "Rows": "US", "Columns": "US",
    "BitsAllocated": "US", "BitsStored": "US", "HighBit": "US", "PixelRepresentation": "US", "SamplesPerPixel": "US",
    "PlanarConfiguration": "US", "NumberOfFrames": "IS", "PhotometricInterpretation": "CS", "Modality": "CS",
    "SeriesInstanceUID": "UI", "FrameOfReferenceUID": "UI", "SOPInstanceUID": "UI", "SpecificCharacterSet": "CS",
    "InstanceNumber": "IS", "PixelPaddingValue": "US", "ImageType": "CS", "AcquisitionNumber": "IS",
    "PatientName": "PN",
}  # fmt: skip
_ODD_TEXTS = (
    b"", b"0", b"-1", b"1", b"nan", b"inf", b"1e400", b"-1e-320", b"x", b"1\\2", b"0\\0\\0\\0\\0\\0", b"\\\\\\",
    b"1\\0\\0\\1\\0\\0", b"1,5", b"\xff\xfe", b"\0\0", b" ", b"9" * 40, b"1.2.3", b"MONOCHROME2", b"ISO_IR 192",
    b"\x1b$B",
    b"0.001\\0.001", b"1e6\\1e6", b"99999", b"2147483648",
)  # fmt: skip


def image_header(rng: random.Random, world: World, folder: Path) -> Found:
    """Images whose headers are changed: read, and segmented if they can be."""
    works, kinds = [], []
    for number in range(IMAGES):
        kinds.append(rng.choice(_KINDS))
        image = _changed(rng, world, folder / str(number), kinds[-1])
        output = folder / f"labels-{number}.nrrd"
        works.append(world.command("segment", image, "--model", "keeper", "-o", output, "--device", "cpu"))
    found = Found([verdict(ended) for ended in tried_in_turn(works, folder)])
    for kind, one in zip(kinds, found.verdicts, strict=True):
        found.of[kind] += 1
        found.reached[kind] += one[0] == SURVIVED
    return found


def _changed(rng: random.Random, world: World, folder: Path, suffix: str) -> Path:
    source = sitk.ReadImage(str(world.tiny))
    folder.mkdir()
    path = folder / f"image{suffix}" if suffix != "series" else folder / "0.dcm"
    if suffix == "series":
        for number in range(source.GetSize()[2]):
            sitk.WriteImage(source[:, :, number], str(folder / f"{number}.dcm"))
    else:
        sitk.WriteImage(source[:, :, 0] if suffix == ".dcm" else source, str(path))
    if rng.random() < 0.6 and path.name.startswith("image.nii"):
        _change_nifti(rng, path)
    elif rng.random() < 0.7 and path.suffix == ".dcm":
        _change_dicom(rng, path)
    else:
        _change_bytes(rng, path)
    return folder if suffix == "series" else path


def _change_nifti(rng: random.Random, path: Path) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        data = bytearray(file.read())
    for _ in range(rng.choice((1, 1, 2, 5))):
        offset, kind, count = rng.choice(_NIFTI)
        if offset == 348:  # the extension flag
            data[348:352] = rng.choice((b"\1\0\0\0", b"\xff" * 4))
            continue
        place = offset + struct.calcsize(kind) * rng.randrange(count)
        number = rng.choice(_ODD_NUMBERS)
        with np.errstate(all="ignore"):
            value = (
                np.float32(number) if kind == "f" else np.nan_to_num(number, posinf=1, neginf=-1).clip(-32768, 32767)
            )
        packed = struct.pack(f"<{kind}", float(value) if kind == "f" else int(value) & (0xFF if kind == "B" else -1))
        data[place : place + len(packed)] = packed
    with opened(path, "wb") as file:
        file.write(data)


def _change_dicom(rng: random.Random, path: Path) -> None:
    dataset = pydicom.dcmread(path)
    for _ in range(rng.choice((1, 1, 2, 5))):
        name = rng.choice(list(_DICOM))
        tag, kind = Tag(name), _DICOM[name]
        if rng.random() < 0.15:
            if tag in dataset:
                del dataset[tag]
            continue
        numbers = struct.pack("<H", rng.choice((0, 1, 2, 3, 8, 12, 15, 16, 17, 32, 64, 65535)))
        value = numbers if kind == "US" and rng.random() < 0.8 else rng.choice(_ODD_TEXTS)
        value += b" " * (len(value) % 2)
        dataset[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=False)
    if rng.random() < 0.1:  # compressed, it says
        syntax = rng.choice((b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.9\0", b"1.2.3" + b"\0" * 15))
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", syntax))


def _change_bytes(rng: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    limit = min(len(data), 1200 if path.suffix == ".dcm" else 400)
    kind = rng.random()
    if kind < 0.05:
        path.unlink()
        os.mkfifo(path)
        return
    if kind < 0.15:
        data = data[: rng.randrange(len(data))]
    for _ in range(rng.choice((1, 1, 2, 8)) if kind >= 0.15 else 0):
        data[rng.randrange(limit)] = rng.choice((0, 255, 127, 128, 48, 57, rng.randrange(256)))
    path.write_bytes(data)
