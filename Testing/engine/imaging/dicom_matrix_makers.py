"""How the files of the matrix of DICOM inputs are made, and how what is read of them is checked."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_samples import (
    chest,
    enhanced_dataset,
    grey_pixels,
    group,
    picture_dataset,
    position,
    save,
    slice_dataset,
    write_series,
)
from PIL import Image
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
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


def moved(indices, x: float = 0, y: float = 0) -> Callable[[Path], Path]:
    """The series with some slices moved sideways, mm (functions of the slice's number are allowed)."""

    def change(dataset: Dataset, index: int) -> None:
        if index in indices:
            place = np.array(dataset.ImagePositionPatient, float)
            place += [x(index) if callable(x) else x, y(index) if callable(y) else y, 0]
            dataset.ImagePositionPatient = [f"{value:.8g}" for value in place]

    return series(change)


def stored(kind: str, intercept: float, slope: float = 1, **tags) -> Callable[[Path], Path]:
    """The series with other stored values that mean the same HU."""

    def change(dataset: Dataset, index: int) -> None:
        values = np.rint((chest()[0][index] - intercept) / slope).astype(kind)
        grey_pixels(dataset, values)
        dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)

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


def labels() -> np.ndarray:
    return (chest()[0] < -500).astype(np.uint8)


def enhanced(change: Callable[[Dataset], None] | None = None, **options) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        dataset = enhanced_dataset(**options)
        if change is not None:
            change(dataset)
        return save(dataset, folder / "enhanced.dcm")

    return write


def per_frame(index: int, sequence: str, **values) -> Callable[[Dataset], None]:
    """Change a functional group of one frame; a value of None deletes it, no value at all the whole group."""

    def change(dataset: Dataset) -> None:
        item = dataset.PerFrameFunctionalGroupsSequence[index]
        if not values:
            delattr(item, sequence)
        else:
            setattr(item, sequence, [group(**values)])

    return change


def legacy(folder: Path) -> Path:
    images = [slice_dataset(index) for index in range(34)]
    return save(
        highdicom.legacy.LegacyConvertedEnhancedCTImage(images, uid.generate_uid(), 2, uid.generate_uid(), 1),
        folder / "legacy.dcm",
    )


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


def huge(dataset: Dataset, index: int = 0) -> None:
    dataset.Rows = dataset.Columns = 30_000


def compressed(syntax: str) -> Callable[[Path], Path]:
    """The series compressed without loss by pydicom."""
    return series(lambda dataset, index: dataset.compress(syntax, generate_instance_uid=False))


def by_itk(compressor: str) -> Callable[[Path], Path]:
    """The series compressed without loss by GDCM: JPEG Lossless or JPEG 2000."""

    def write(folder: Path) -> Path:
        (folder / "ct").mkdir()
        for path in sorted(write_series(folder / "plain").iterdir()):
            dataset = dcmread(path)
            image = sitk.GetImageFromArray(dataset.pixel_array[None])
            writer = sitk.ImageFileWriter()
            writer.SetImageIO("GDCMImageIO")
            writer.UseCompressionOn()
            writer.SetCompressor(compressor)
            writer.SetFileName(str(folder / "packed.dcm"))
            writer.Execute(image)
            packed = dcmread(folder / "packed.dcm")
            dataset.PixelData, dataset.file_meta.TransferSyntaxUID = (
                packed.PixelData,
                packed.file_meta.TransferSyntaxUID,
            )
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
            save(dataset, folder / "ct" / path.name)
        return folder / "ct"

    return write


def jpeg(folder: Path) -> Path:
    """HU of -1024 to 1016 in steps of 8, as lossy JPEG of 8 bits."""

    def change(dataset: Dataset, index: int) -> None:
        grey_pixels(dataset, np.clip((chest()[0][index] + 1024) // 8, 0, 255).astype(np.uint8))
        dataset.RescaleSlope, dataset.RescaleIntercept = "8", "-1024"
        file = io.BytesIO()
        Image.fromarray(dataset.pixel_array).save(file, "JPEG", quality=100)
        dataset.PixelData = encapsulate([file.getvalue()])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit

    return write_series(folder / "ct", change)


def check_jpeg(volume: Volume) -> None:
    steps = np.clip((chest()[0] + 1024) // 8, 0, 255) * 8.0 - 1024
    assert np.abs(volume.array[0] - steps).mean() < 8


def packed_frames(change: Callable[[list[bytes]], list[bytes]], syntax: str = uid.JPEGLSLossless,
                  **values) -> Callable[[Path], Path]:  # fmt: skip
    """An enhanced file whose compressed frames are changed."""

    def write(folder: Path) -> Path:
        from pydicom.encaps import generate_frames

        dataset = enhanced_dataset()
        dataset.compress(syntax, generate_instance_uid=False)
        frames = list(generate_frames(dataset.PixelData, number_of_frames=34))
        dataset.PixelData = encapsulate(change(frames))
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        return save(dataset, folder / "enhanced.dcm")

    return write


def of_syntax(syntax: str) -> Callable[[Path], Path]:
    """Compressed in a way that is not read; the bytes do not matter."""
    known = uid.HTJ2KLossless if len(syntax) == len(uid.HTJ2KLossless) else syntax  # pydicom does not write JPEG XL

    def change(dataset: Dataset, index: int) -> None:
        dataset.file_meta.TransferSyntaxUID = known
        dataset.PixelData = encapsulate([b"\xff\x0a" * 500])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True

    def write(folder: Path) -> Path:
        for path in write_series(folder / "ct", change).iterdir():
            path.write_bytes(path.read_bytes().replace(known.encode(), syntax.encode(), 1))
        return folder / "ct"

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


def picture(array: np.ndarray, change: Callable[[Dataset], None] | None = None, **options) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        dataset = picture_dataset(array, **options)
        if change is not None:
            change(dataset)
        return save(dataset, folder / "picture.dcm")

    return write


def cine(modality: str, sop_class: str = uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage, **tags):
    """All slices of CTChest4 as frames without a position of their own."""

    def change(dataset: Dataset) -> None:
        grey_pixels(dataset, (chest()[0] + 1024).astype(np.uint16))
        dataset.NumberOfFrames = 34
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)

    return picture(np.zeros((2, 2), np.uint8), change, sop_class=sop_class, modality=modality)


GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
COLOUR = np.stack([GREY, GREY + 50, GREY + 100], axis=-1)


def is_picture(expected: np.ndarray, physical: bool = False, spacing=(1, 1)) -> Callable[[Volume], None]:
    def check(volume: Volume) -> None:
        channels = expected[None] if expected.ndim == 2 else np.moveaxis(expected, -1, 0)
        np.testing.assert_array_equal(volume.array[:, 0], channels)
        assert volume.physical is physical
        assert tuple(volume.spacing[:2]) == pytest.approx(spacing)

    return check


def is_brighter(volume: Volume) -> None:
    np.testing.assert_array_equal(volume.array[0], chest()[0] + 100)


def is_cine(volume: Volume) -> None:
    np.testing.assert_array_equal(volume.array[0], chest()[0])
    assert not volume.physical  # the third axis is time: no millilitres are claimed


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


def rescaled_each(dataset: Dataset, index: int) -> Dataset:
    return slice_dataset(index, intercept=-1024 - 8 * index, slope=2.0 ** -(index % 3))


def without(*keywords: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword in keywords:
            delattr(dataset, keyword)

    return change


def gap(dataset: Dataset) -> None:
    item = dataset.PerFrameFunctionalGroupsSequence
    for frame in range(20, 34):
        item[frame].PlanePositionSequence[0].ImagePositionPatient = position(frame + 1)


def sideways(dataset: Dataset) -> None:
    for frame in range(11, 25):
        place = np.array(dataset.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0].ImagePositionPatient)
        dataset.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0].ImagePositionPatient = list(
            np.add(place, [40, 0, 0])
        )


def signed_slice(index: int) -> Dataset:
    dataset = slice_dataset(index)
    grey_pixels(dataset, chest()[0][index].astype("<i2"))
    dataset.RescaleIntercept = "0"
    return dataset


def packed(dataset: Dataset, syntax: str) -> Dataset:
    dataset.compress(syntax, generate_instance_uid=False)
    return dataset


def floats(dataset: Dataset) -> None:
    values = np.frombuffer(dataset.PixelData, "<u2").astype("<f4").tobytes()
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.FloatPixelData, dataset.BitsAllocated = values, 32


def contradicting(folder: Path) -> Path:
    path = write_series(folder / "ct")
    file = sorted(path.iterdir())[3]
    data = file.read_bytes()
    # of the same length, in the file header only
    file.write_bytes(data.replace(uid.CTImageStorage.encode(), uid.MRImageStorage.encode(), 1))
    return path


def compressed_twins(folder: Path) -> Path:
    path = two_series("1.2.826.0.1.3680043.8.498.8", 100)(folder)
    for file in path.iterdir():
        save(packed(dcmread(file), uid.JPEGLSLossless), file)
    return path
