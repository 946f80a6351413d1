"""What series of single-frame files can say about place, length, time and identity, one cell a statement."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from dicom_samples import (
    chest,
    dose_dataset,
    key_object_dataset,
    position,
    presentation_state_dataset,
    save,
    segmentation_dataset,
    slice_dataset,
    structure_set_dataset,
    write_series,
)
from pydicom import uid
from pydicom.dataset import Dataset

from .dicom import Cell, cut, elements, is_brighter, labels, series, two_series


def moved(indices, x: float = 0, y: float = 0) -> Callable[[Path], Path]:
    """The series with some slices moved sideways, mm (functions of the slice's number are allowed)."""

    def change(dataset: Dataset, index: int) -> None:
        if index in indices:
            place = np.array(dataset.ImagePositionPatient, float)
            place += [x(index) if callable(x) else x, y(index) if callable(y) else y, 0]
            dataset.ImagePositionPatient = [f"{value:.8g}" for value in place]

    return series(change)


def beside(*make: Callable[[list[Dataset]], Dataset]) -> Callable[[Path], Path]:
    """The series with other objects in its folder."""

    def write(folder: Path) -> Path:
        write_series(folder / "ct")
        images = [slice_dataset(index) for index in range(34)]
        for number, made in enumerate(make):
            save(made(images), folder / "ct" / f"other{number}.dcm")
        return folder / "ct"

    return write


def copied(folder: Path) -> Path:
    path = write_series(folder / "ct")
    for file in list(path.iterdir()):
        (path / f"copy of {file.name}").write_bytes(file.read_bytes())
    return path


def damaged_beside(length: int, other: bool) -> Callable[[Path], Path]:
    """A file of the series, or of another one, that is cut after ``length`` bytes."""

    def write(folder: Path) -> Path:
        path = write_series(folder / "ct")
        dataset = slice_dataset(3)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
        if other:
            dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.77"
        extra = save(dataset, path / "extra.dcm")
        extra.write_bytes(extra.read_bytes()[:length])
        return path

    return write


def other_orientation(dataset: Dataset, index: int) -> None:
    if index == 20:
        dataset.ImageOrientationPatient = ["-1", "0", "0", "0", "-0.9998477", "0.0174524"]  # one degree


def scout(folder: Path) -> object:
    """Localizers of three planes within the series."""
    path = write_series(folder / "ct")
    for number, axes in enumerate(([0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1], [1, 0, 0, 0, 1, 0])):
        dataset = slice_dataset(number)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
        dataset.ImageOrientationPatient = axes
        save(dataset, path / f"scout{number}")
    return path, slice_dataset(0).SeriesInstanceUID


def alternating(values: Callable[[int], dict]) -> Callable[[Path], Path]:
    def change(dataset: Dataset, index: int) -> None:
        for keyword, value in values(index).items():
            setattr(dataset, keyword, value)

    return series(change)


def contradicting(folder: Path) -> Path:
    path = write_series(folder / "ct")
    file = sorted(path.iterdir())[3]
    data = file.read_bytes()
    # of the same length, in the file header only
    file.write_bytes(data.replace(uid.CTImageStorage.encode(), uid.MRImageStorage.encode(), 1))
    return path


CELLS = (
    Cell("single", "place", "as it is", series()),
    Cell(
        "single",
        "place",
        "slices 12 to 25 lie 40 mm to the side",
        moved(range(11, 25), x=40),
        "Slices 12 to 25 of 34 of the series Chest",
        row="CT series whose slices 12 to 25 lie 40 mm to the side",
    ),
    Cell("single", "place", "one slice 2 mm to the side", moved([16], y=2), "Slice 17 of 34 of the series Chest"),
    Cell(
        "single", "place", "a drift of 0.2 mm a slice", moved(range(34), x=lambda i: 0.2 * i), "(a tilt of 1.1 degrees)"
    ),
    Cell(
        "single",
        "place",
        "positions rounded to 0.1 mm",
        series(lambda d, i: setattr(d, "ImagePositionPatient", [f"{float(v):.1f}" for v in d.ImagePositionPatient])),
        check=lambda v: np.testing.assert_allclose(v.origin, chest()[1], atol=0.06),
    ),
    Cell("single", "place", "a slice is missing", series(indices=[i for i in range(34) if i != 9]), "misses 1 of 34"),
    Cell("single", "place", "no positions", elements(ImagePositionPatient=None), "does not say where its slices lie"),
    Cell(
        "single",
        "place",
        "one slice without position",
        elements([5], ImagePositionPatient=None),
        "does not say where its slices lie (files",
    ),
    Cell(
        "single",
        "place",
        "a position that is no number",
        elements([5], ImagePositionPatient=["nan", "0", "0"]),
        "its ImagePositionPatient is",
    ),
    Cell(
        "single",
        "place",
        "two frames of reference",
        alternating(lambda i: {"FrameOfReferenceUID": f"1.2.826.0.1.3680043.8.498.{3 + (i > 16)}"}),
        "holds 2 series",
    ),
    Cell(
        "single",
        "identity",
        "two patients under one series",
        alternating(lambda i: {"PatientID": "4" if i < 20 else "5"}),
        "holds 2 series",
    ),
    Cell(
        "single",
        "length",
        "PixelData 100 bytes too short",
        cut(series(), 100),
        "is cut: 128 x 128 pixels",
        row="uncompressed DICOM whose PixelData is shorter",
    ),
    Cell("single", "length", "Rows larger than the voxels", elements(Rows=129), "is cut: 128 x 129 pixels"),
    Cell("single", "length", "Rows smaller than the voxels", elements(Rows=100), "contradicts itself"),
    Cell(
        "single",
        "length",
        "30,000 x 30,000 with kilobytes of data",
        elements(Rows=30_000, Columns=30_000),
        "are 1800000000 bytes of voxels, and it holds 32768",
        row="header claims 10 GB",
    ),
    Cell("single", "length", "ends before the voxels", cut(series(), 33_000), "ends before its voxels"),
    Cell("single", "orientation", "one slice turned by one degree", (series(other_orientation)), "holds 2 series"),
    Cell(
        "single",
        "orientation",
        "rows and columns not at right angles",
        elements(ImageOrientationPatient=["-1", "0", "0", "-0.1736482", "-0.9848078", "0"]),
        "at 80.0 degrees",
    ),
    Cell(
        "single",
        "orientation",
        "axes of length 2",
        elements(ImageOrientationPatient=["2", "0", "0", "0", "2", "0"]),
        "not 1",
    ),
    Cell("single", "orientation", "localizers of three planes within the series", scout),
    Cell(
        "single",
        "time",
        "two phases under one UID",
        series(lambda d, i: setattr(d, "ImagePositionPatient", position(i // 2))),
        "34 images at 17 positions",
    ),
    Cell(
        "single",
        "identity",
        "another series has the same SOPInstanceUIDs",
        two_series("1.2.826.0.1.3680043.8.498.8", 100, "1.2.826.0.1.3680043.8.498.8"),
        check=is_brighter,
        row="two series whose images share SOPInstanceUIDs",
    ),
    Cell(
        "single",
        "identity",
        "one series, two contents under each SOPInstanceUID",
        two_series("1.2.826.0.1.3680043.8.498.1", 100),
        "68 images at 34 positions",
    ),
    Cell("single", "identity", "true copies", copied),
    Cell(
        "single",
        "identity",
        "SOP class of the file header is another",
        contradicting,
        "contradicts itself: its file header says MR Image",
    ),
    Cell(
        "single",
        "identity",
        "beside a structure set",
        beside(lambda _: structure_set_dataset()),
        row="CT slices beside an RTSTRUCT",
    ),
    Cell(
        "single",
        "identity",
        "beside a presentation state",
        beside(presentation_state_dataset),
        row="CT slices beside a presentation state",
    ),
    Cell("single", "identity", "beside a key object", beside(key_object_dataset), row="CT slices beside a key object"),
    Cell(
        "single",
        "identity",
        "beside a LABELMAP SEG",
        beside(lambda images: segmentation_dataset(images, labels(), names=("Lung",))),
        row="CT slices beside a LABELMAP SEG",
    ),
    Cell("single", "identity", "beside an RT dose", beside(lambda _: dose_dataset()), row="CT + RTDOSE"),
    Cell("single", "identity", "a damaged file of the series", damaged_beside(1050, False), "is damaged"),
    Cell("single", "identity", "a damaged file of another series", damaged_beside(1050, True)),
)
