"""Statements of DICOM files about themselves, and what makes files that say them, for all forms."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dicom_samples import (
    air_ml,
    chest,
    enhanced_dataset,
    grey_pixels,
    group,
    position,
    save,
    slice_dataset,
    write_series,
)
from pydicom import uid
from pydicom.dataset import Dataset
from sam2adapt.imaging.volume import Volume

FORMS = ("single", "enhanced", "compressed", "other classes")


ASPECTS = ("place", "unit", "scale", "type", "length", "orientation", "time", "identity")


@dataclass(frozen=True)
class Cell:
    """One thing that a file says.

    :ivar make: writes it below a folder and gives the path to read, or path and series; None where the format cannot
        say such a thing, for the ``reason`` given.
    :ivar refused: part of the sentence with which it is refused; "" where it is honoured: then it must be CTChest4,
        or pass ``check``.
    :ivar model: modality of a model to which the volume is offered, "" where reading alone is looked at.
    :ivar row: the row of inputs.md that it is, "" for others.
    """

    form: str
    aspect: str
    what: str
    make: Callable[[Path], object] | None = None
    refused: str = ""
    check: Callable[[Volume], None] | None = None
    reason: str = ""
    row: str = ""
    model: str = ""

    @property
    def name(self) -> str:
        return f"{self.form}: {self.what}"

    @property
    def verdict(self) -> str:
        return "no such statement" if not self.make else "refused" if self.refused else "honoured"


def series(change: Callable[[Dataset, int], Dataset | None] | None = None, **options) -> Callable[[Path], Path]:
    return lambda folder: write_series(folder / "ct", change, **options)


def elements(indices=range(34), **values) -> Callable[[Path], Path]:
    """The series with other elements in some slices; None deletes one."""

    def change(dataset: Dataset, index: int) -> None:
        for keyword, value in values.items():
            if index not in indices:
                continue
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return series(change)


def padding_circle() -> np.ndarray:
    """(rows, columns) bool: outside the circle of the scan, where there is no body."""
    rows, columns = np.indices(chest()[0].shape[1:])
    height, width = chest()[0].shape[1:]
    return np.hypot((rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5) > 0.5


def pad(dataset: Dataset, kind: str, value: int, limit: int | None = None, where: np.ndarray | None = None) -> None:
    """Store padding outside the circle: ``value``, and ``limit`` in every second row where there is one.

    :param kind: of the stored values, "u2" or "i2"; a signed file stores HU.
    """
    frames = np.frombuffer(dataset.PixelData, "<u2").reshape(-1, dataset.Rows, dataset.Columns)
    frames = frames.astype("<i4") - (1024 if kind == "i2" else 0)
    where = padding_circle() if where is None else where
    frames[:, where] = value
    if limit is not None:
        frames[:, ::2][:, where[::2]] = limit
        dataset.PixelPaddingRangeLimit = limit
    dataset.PixelPaddingValue = value
    if kind == "i2":
        dataset.PixelRepresentation = 1
        if "RescaleIntercept" in dataset:
            dataset.RescaleIntercept = "0"
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if keyword in dataset:
            dataset[keyword].VR = "SS" if kind == "i2" else "US"
    dataset.PixelData = frames.astype(f"<{kind}").tobytes()


def is_padded(volume: Volume) -> None:
    """CTChest4, with its lowest value where the padding was."""
    voxels, _, spacing, _ = chest()
    expected = voxels.copy()
    expected[:, padding_circle()] = voxels[:, ~padding_circle()].min()
    np.testing.assert_array_equal(volume.array[0], expected)
    assert volume.array.dtype == np.int16  # not widened by the padding
    assert air_ml(volume.array, volume.spacing) == pytest.approx(air_ml(voxels, spacing), rel=0.01)


def labels() -> np.ndarray:
    return (chest()[0] < -500).astype(np.uint8)


def enhanced(change: Callable[[Dataset], None] | None = None, **options) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        dataset = enhanced_dataset(**options)
        if change is not None:
            change(dataset)
        return save(dataset, folder / "enhanced.dcm")

    return write


def several_frames_of_time(dataset: Dataset) -> None:
    for frame, item in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        item.PlanePositionSequence = [group(ImagePositionPatient=position(frame // 2))]


def cut(path_of: Callable[[Path], Path], count: int) -> Callable[[Path], Path]:
    """The last file (by name) without its last bytes."""

    def write(folder: Path) -> Path:
        path = path_of(folder)
        victim = sorted(path.iterdir())[-1] if path.is_dir() else path
        data = victim.read_bytes()
        victim.write_bytes(data[:-count])
        return path

    return write


def uncompressed(syntax: str) -> Callable[[Path], Path]:
    def change(dataset: Dataset, index: int) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == uid.ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()

    def write(folder: Path) -> Path:
        for index in range(34):
            dataset = slice_dataset(index)
            change(dataset, index)
            (folder / "ct").mkdir(exist_ok=True)
            dataset.save_as(
                folder / "ct" / f"{index}",
                implicit_vr=syntax == uid.ImplicitVRLittleEndian,
                little_endian=syntax != uid.ExplicitVRBigEndian,
                enforce_file_format=True,
            )
        return folder / "ct"

    return write


def two_series(series_b: str, hu: int, name: str = "") -> Callable[[Path], object]:
    """A second series with the SOPInstanceUIDs of the first, ``hu`` brighter."""

    def write(folder: Path) -> object:
        for index in range(34):
            first, second = slice_dataset(index), slice_dataset(index, chest()[0][index] + hu)
            second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
            second.SeriesInstanceUID = series_b
            save(first, folder / "ct" / f"a{index}")
            save(second, folder / "ct" / f"b{index}")
        return (folder / "ct", name) if name else folder / "ct"

    return write


def is_brighter(volume: Volume) -> None:
    np.testing.assert_array_equal(volume.array[0], chest()[0] + 100)


def rescaled_each(dataset: Dataset, index: int) -> Dataset:
    return slice_dataset(index, intercept=-1024 - 8 * index, slope=2.0 ** -(index % 3))


def without(*keywords: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword in keywords:
            delattr(dataset, keyword)

    return change


def signed_slice(index: int) -> Dataset:
    dataset = slice_dataset(index)
    grey_pixels(dataset, chest()[0][index].astype("<i2"))
    dataset.RescaleIntercept = "0"
    return dataset
