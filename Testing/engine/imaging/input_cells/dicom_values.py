"""What series of single-frame files can say about their values, one cell a statement."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from dicom_samples import chest, grey_pixels, group, save, slice_dataset, write_series
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from sam2adapt.imaging.volume import Volume

from .dicom import Cell, elements, is_padded, pad, rescaled_each, series, signed_slice, uncompressed


def stored(kind: str, intercept: float, slope: float = 1, **tags) -> Callable[[Path], Path]:
    """The series with other stored values that mean the same HU."""

    def change(dataset: Dataset, index: int) -> None:
        values = np.rint((chest()[0][index] - intercept) / slope).astype(kind)
        grey_pixels(dataset, values)
        dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)

    return series(change)


def padded(kind: str, value: int, limit: int | None = None, modality: str = "CT", **options) -> Callable[[Path], Path]:
    def change(dataset: Dataset, index: int) -> None:
        pad(dataset, kind, value, limit, **options)
        if modality == "MR":
            dataset.Modality = "MR"
            dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.MRImageStorage

    return series(change)


def implicit(path_of: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """The series without value representations, as most archives send it."""

    def write(folder: Path) -> Path:
        path = path_of(folder)
        for file in path.iterdir():
            dataset = dcmread(file)
            dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
            dataset.save_as(file, implicit_vr=True, little_endian=True)
        return path

    return write


def before_part_10(folder: Path) -> Path:
    """Implicit VR without preamble and file header, as of ACR-NEMA."""
    path = write_series(folder / "ct")
    for file in path.iterdir():
        dataset = dcmread(file)
        del dataset.file_meta
        dataset.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=False)
    return path


def without_thickness(path: Path) -> Path:
    dataset = slice_dataset(17)
    del dataset.SliceThickness
    return save(dataset, path)


def is_said_to_be_of_unknown_thickness(volume: Volume) -> None:
    assert "a.dcm does not say how thick its slice is" in " ".join(volume.notes)


def lut(dataset: Dataset, index: int) -> None:
    """The rescale as a table: value n means n - 1024, in a table of 4,096 entries that starts at 0."""
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType
    table = group(LUTDescriptor=[4096, 0, 16], ModalityLUTType="HU", LUTData=np.arange(4096).astype("<u2").tobytes())
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    dataset.ModalityLUTSequence = [table]


def is_through_table(volume: Volume) -> None:
    np.testing.assert_array_equal(volume.array[0], np.minimum(chest()[0] + 1024, 4095))


def overlay(dataset: Dataset, index: int) -> None:
    """12 stored bits, with an overlay in the bits above them, as old scanners wrote."""
    values = np.frombuffer(dataset.PixelData, "<u2").reshape(128, 128)
    values = np.minimum(values, 4095) | (np.arange(128) % 2 * 0xF000).astype(np.uint16)
    dataset.PixelData = values.tobytes()
    dataset.BitsStored, dataset.HighBit = 12, 11


def shifted(dataset: Dataset, index: int) -> None:
    """12 stored bits in the upper part of the word, as ACR-NEMA allowed."""
    values = np.minimum(np.frombuffer(dataset.PixelData, "<u2"), 4095) << 4
    dataset.PixelData = values.astype("<u2").tobytes()
    dataset.BitsStored, dataset.HighBit = 12, 15


def is_clipped(volume: Volume) -> None:
    np.testing.assert_array_equal(volume.array[0], np.minimum(chest()[0], 4095 - 1024))


def is_raw(volume: Volume) -> None:
    """Values as stored: no intercept is invented. That they are no HU is said by the check of the modality."""
    np.testing.assert_array_equal(volume.array[0], chest()[0] + 1024)


def padded_beyond(value: int, kind: str) -> Callable[[Path], Path]:
    """Padding that the 12 stored bits of a scanner cannot hold; the voxels are cut so that the bits hold them."""

    def change(dataset: Dataset, index: int) -> None:
        pad(dataset, kind, value)
        dataset.BitsStored, dataset.HighBit = (12, 11) if kind == "u2" else (13, 12)

    return series(change)


CELLS = (
    Cell("single", "unit", "PixelSpacing 0", elements(PixelSpacing=["0", "0"]), "declares pixels of 0 to 0 mm"),
    Cell("single", "unit", "no PixelSpacing", elements(PixelSpacing=None), "how large their pixels are"),
    Cell(
        "single",
        "unit",
        "PixelSpacing differs in slices 12 to 25",
        elements(range(11, 25), PixelSpacing=["3.1", "3.1"]),
        "holds 2 series",
    ),
    Cell(
        "single",
        "unit",
        "PixelSpacing differs by 0.08 % in one slice",
        elements([7], PixelSpacing=["3.04931", "3.04931"]),
        "Slice 8 of 34",
    ),
    Cell("single", "unit", "SpacingBetweenSlices -3 contradicts the positions", elements(SpacingBetweenSlices="-3")),
    Cell("single", "scale", "slope and intercept differ from slice to slice", series(rescaled_each)),
    Cell(
        "single",
        "scale",
        "slices 12 to 25 without slope and intercept",
        elements(range(11, 25), RescaleSlope=None, RescaleIntercept=None),
        "14 of the 34 files of a series have no RescaleSlope",
    ),
    Cell(
        "single",
        "unit",
        "one slice that does not say how thick it is",
        lambda folder: without_thickness(folder / "a.dcm"),
        check=is_said_to_be_of_unknown_thickness,
    ),
    Cell("single", "type", "implicit VR from before part 10", before_part_10),
    Cell("single", "scale", "padding, high and unsigned", padded("u2", 63536), check=is_padded),
    Cell("single", "scale", "padding, low and signed", padded("i2", -2000), check=is_padded),
    Cell("single", "scale", "padding, high and signed", padded("i2", 32767), check=is_padded),
    Cell("single", "scale", "padding, a range", padded("u2", 63000, 63536), check=is_padded),
    Cell("single", "scale", "padding, a range from above, signed", padded("i2", -2000, -3000), check=is_padded),
    Cell("single", "scale", "padding, MR", padded("u2", 65535, modality="MR"), check=is_padded),
    Cell("single", "scale", "padding beyond the stored bits", padded_beyond(63536, "u2"), check=is_padded),
    Cell("single", "scale", "padding beyond the stored bits, signed", padded_beyond(-32768, "i2"), check=is_padded),
    Cell("single", "scale", "padding that no voxel has", elements(PixelPaddingValue=63536)),
    Cell("single", "scale", "padding, implicit VR and signed", implicit(padded("i2", -2000)), check=is_padded),
    Cell(
        "single",
        "scale",
        "padding, all voxels",
        padded("u2", 63536, where=np.ones((128, 128), bool)),
        "files are padding (PixelPaddingValue 63536)",
    ),
    Cell("single", "scale", "slope 0", elements([4], RescaleSlope="0"), "RescaleSlope of 0"),
    Cell(
        "single",
        "scale",
        "a slope without an intercept",
        elements([4], RescaleIntercept=None),
        "one of RescaleSlope and RescaleIntercept",
    ),
    Cell(
        "single",
        "scale",
        "no slope, no intercept (0..4094)",
        elements(RescaleSlope=None, RescaleIntercept=None, RescaleType="US"),
        check=is_raw,
    ),
    Cell(
        "single",
        "scale",
        "atomic numbers offered to a model of CT",
        elements(range(5, 6), RescaleType="Z_EFF"),
        "is CT with values in 'Z_EFF'",
        model="CT",
    ),
    Cell("single", "scale", "Hounsfield units offered to a model of CT", series(), model="CT"),
    Cell(
        "single",
        "scale",
        "0..4094 offered to a model of CT",
        elements(RescaleSlope=None, RescaleIntercept=None, RescaleType="US"),
        "is CT with values of 0 to 4094: Hounsfield units (HU)",
        model="CT",
        row="CT not in HU (0..4094, no intercept)",
    ),
    Cell("single", "scale", "a table in the place of slope and intercept", series(lut), check=is_through_table),
    Cell("single", "type", "MONOCHROME1", elements(PhotometricInterpretation="MONOCHROME1"), row="MONOCHROME1 CT"),
    Cell("single", "type", "signed", stored("<i2", 0)),
    Cell("single", "type", "signed in some slices only", series(lambda d, i: signed_slice(i) if i % 2 else None)),
    Cell("single", "type", "12 of 16 bits, an overlay above them", series(overlay), check=is_clipped),
    Cell("single", "type", "12 of 16 bits, at the upper end", series(shifted), check=is_clipped),
    Cell("single", "type", "32 bits", stored("<i4", -1024)),
    Cell("single", "type", "big endian", uncompressed(uid.ExplicitVRBigEndian)),
    Cell("single", "type", "implicit", uncompressed(uid.ImplicitVRLittleEndian)),
    Cell("single", "type", "64 bits", elements([0], BitsAllocated=64, BitsStored=64, HighBit=63), "64 bits a value"),
    Cell(
        "single", "type", "BitsStored larger than BitsAllocated", elements([0], BitsStored=17), "contradict each other"
    ),
)
