"""The cells of the matrix of DICOM inputs: how each file is made, and what is right."""

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
    dose_dataset,
    enhanced_dataset,
    grey_pixels,
    group,
    key_object_dataset,
    picture_dataset,
    position,
    presentation_state_dataset,
    save,
    segmentation_dataset,
    slice_dataset,
    structure_set_dataset,
    write_series,
)
from PIL import Image
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from sam2adapt.imaging.volume import Volume

FORMS = ("single", "enhanced", "compressed", "other classes")
PROPERTIES = ("place", "unit", "scale", "type", "length", "orientation", "time", "identity")


@dataclass(frozen=True)
class Cell:
    """One thing that a file says.

    :ivar make: writes it below a folder and gives the path to read, or path and series; None where the format cannot
        say such a thing, for the ``reason`` given.
    :ivar refused: part of the sentence with which it is refused; "" where it is honoured: then it must be CTChest4,
        or pass ``check``.
    :ivar row: the row of inputs.md that it is, "" for others.
    """

    form: str
    property: str
    what: str
    make: Callable[[Path], object] | None = None
    refused: str = ""
    check: Callable[[Volume], None] | None = None
    reason: str = ""
    row: str = ""

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
    return save(highdicom.legacy.LegacyConvertedEnhancedCTImage(
        images, uid.generate_uid(), 2, uid.generate_uid(), 1), folder / "legacy.dcm")


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
            dataset.PixelData, dataset.file_meta.TransferSyntaxUID = packed.PixelData, packed.file_meta.TransferSyntaxUID
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
            dataset.save_as(folder / "ct" / f"{index}", implicit_vr=syntax == uid.ImplicitVRLittleEndian,
                            little_endian=syntax != uid.ExplicitVRBigEndian, enforce_file_format=True)
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
            place + [40, 0, 0])


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


CELLS = (
    # single-frame series
    Cell("single", "place", "as it is", series()),
    Cell("single", "place", "slices 12 to 25 lie 40 mm to the side", moved(range(11, 25), x=40),
         "Slices 12 to 25 of 34 of the series Chest", row="CT series whose slices 12 to 25 lie 40 mm to the side"),
    Cell("single", "place", "one slice 2 mm to the side", moved([16], y=2), "Slice 17 of 34 of the series Chest"),
    Cell("single", "place", "a drift of 0.2 mm a slice", moved(range(34), x=lambda i: 0.2 * i), "(a tilt of 1.1 degrees)"),
    Cell("single", "place", "positions rounded to 0.1 mm", series(lambda d, i: setattr(
        d, "ImagePositionPatient", [f"{float(v):.1f}" for v in d.ImagePositionPatient])),
        check=lambda v: np.testing.assert_allclose(v.origin, chest()[1], atol=0.06)),
    Cell("single", "place", "a slice is missing", series(indices=[i for i in range(34) if i != 9]), "misses 1 of 34"),
    Cell("single", "place", "no positions", elements(ImagePositionPatient=None), "does not say where its slices lie"),
    Cell("single", "place", "one slice without position", elements([5], ImagePositionPatient=None),
         "does not say where its slices lie (files"),
    Cell("single", "place", "a position that is no number", elements([5], ImagePositionPatient=["nan", "0", "0"]),
         "its ImagePositionPatient is"),
    Cell("single", "place", "two frames of reference", alternating(lambda i: {
        "FrameOfReferenceUID": f"1.2.826.0.1.3680043.8.498.{3 + (i > 16)}"}), "holds 2 series"),
    Cell("single", "unit", "PixelSpacing 0", elements(PixelSpacing=["0", "0"]), "declares pixels of 0 to 0 mm"),
    Cell("single", "unit", "no PixelSpacing", elements(PixelSpacing=None), "how large their pixels are"),
    Cell("single", "unit", "PixelSpacing differs in slices 12 to 25", elements(range(11, 25), PixelSpacing=["3.1", "3.1"]),
         "holds 2 series"),
    Cell("single", "unit", "PixelSpacing differs by 0.08 % in one slice",
         elements([7], PixelSpacing=["3.04931", "3.04931"]), "Slice 8 of 34"),
    Cell("single", "unit", "SpacingBetweenSlices -3 contradicts the positions", elements(SpacingBetweenSlices="-3")),
    Cell("single", "scale", "slope and intercept differ from slice to slice", series(rescaled_each)),
    Cell("single", "scale", "slope 0", elements([4], RescaleSlope="0"), "RescaleSlope of 0"),
    Cell("single", "scale", "a slope without an intercept", elements([4], RescaleIntercept=None),
         "one of RescaleSlope and RescaleIntercept"),
    Cell("single", "scale", "no slope, no intercept (0..4094)", elements(
        RescaleSlope=None, RescaleIntercept=None, RescaleType="US"), check=is_raw,
        row="CT not in HU (0..4094, no intercept)"),
    Cell("single", "scale", "a table in the place of slope and intercept", series(lut), check=is_through_table),
    Cell("single", "type", "MONOCHROME1", elements(PhotometricInterpretation="MONOCHROME1"), row="MONOCHROME1 CT"),
    Cell("single", "type", "signed", stored("<i2", 0)),
    Cell("single", "type", "signed in some slices only", series(
        lambda d, i: signed_slice(i) if i % 2 else None)),
    Cell("single", "type", "12 of 16 bits, an overlay above them", series(overlay), check=is_clipped),
    Cell("single", "type", "12 of 16 bits, at the upper end", series(shifted), check=is_clipped),
    Cell("single", "type", "32 bits", stored("<i4", -1024)),
    Cell("single", "type", "big endian", uncompressed(uid.ExplicitVRBigEndian)),
    Cell("single", "type", "implicit", uncompressed(uid.ImplicitVRLittleEndian)),
    Cell("single", "type", "64 bits", elements([0], BitsAllocated=64, BitsStored=64, HighBit=63), "64 bits a value"),
    Cell("single", "type", "BitsStored larger than BitsAllocated", elements([0], BitsStored=17), "contradict each other"),
    Cell("single", "length", "PixelData 100 bytes too short", cut(series(), 100), "is cut: 128 x 128 pixels",
         row="uncompressed DICOM whose PixelData is shorter"),
    Cell("single", "length", "Rows larger than the voxels", elements(Rows=129), "is cut: 128 x 129 pixels"),
    Cell("single", "length", "Rows smaller than the voxels", elements(Rows=100), "contradicts itself"),
    Cell("single", "length", "30,000 x 30,000 with kilobytes of data", elements(Rows=30_000, Columns=30_000),
         "are 1800000000 bytes of voxels, and it holds 32768", row="header claims 10 GB"),
    Cell("single", "length", "ends before the voxels", cut(series(), 33_000), "ends before its voxels"),
    Cell("single", "orientation", "one slice turned by one degree", (series(other_orientation)), "holds 2 series"),
    Cell("single", "orientation", "rows and columns not at right angles",
         elements(ImageOrientationPatient=["-1", "0", "0", "-0.1736482", "-0.9848078", "0"]), "at 80.0 degrees"),
    Cell("single", "orientation", "axes of length 2", elements(ImageOrientationPatient=["2", "0", "0", "0", "2", "0"]),
         "not 1"),
    Cell("single", "orientation", "localizers of three planes within the series", scout),
    Cell("single", "time", "two phases under one UID", series(lambda d, i: setattr(
        d, "ImagePositionPatient", position(i // 2))), "34 images at 17 positions"),
    Cell("single", "identity", "another series has the same SOPInstanceUIDs",
         two_series("1.2.826.0.1.3680043.8.498.8", 100, "1.2.826.0.1.3680043.8.498.8"), check=is_brighter,
         row="two series whose images share SOPInstanceUIDs"),
    Cell("single", "identity", "one series, two contents under each SOPInstanceUID",
         two_series("1.2.826.0.1.3680043.8.498.1", 100), "68 images at 34 positions"),
    Cell("single", "identity", "true copies", copied),
    Cell("single", "identity", "SOP class of the file header is another", contradicting,
        "contradicts itself: its file header says MR Image"),
    Cell("single", "identity", "beside a structure set", beside(lambda _: structure_set_dataset()),
         row="CT slices beside an RTSTRUCT"),
    Cell("single", "identity", "beside a presentation state", beside(presentation_state_dataset),
         row="CT slices beside a presentation state"),
    Cell("single", "identity", "beside a key object", beside(key_object_dataset), row="CT slices beside a key object"),
    Cell("single", "identity", "beside a LABELMAP SEG", beside(lambda images: segmentation_dataset(
        images, labels(), names=("Lung",))), row="CT slices beside a LABELMAP SEG"),
    Cell("single", "identity", "beside an RT dose", beside(lambda _: dose_dataset()), row="CT + RTDOSE"),
    Cell("single", "identity", "a damaged file of the series", damaged_beside(1050, False), "is damaged"),
    Cell("single", "identity", "a damaged file of another series", damaged_beside(1050, True)),
    # enhanced multi-frame
    Cell("enhanced", "place", "as it is", enhanced()),
    Cell("enhanced", "place", "legacy converted by highdicom", legacy),
    Cell("enhanced", "place", "frames in another order", enhanced(order=[*range(17, 34), *range(17)])),
    Cell("enhanced", "place", "frames from head to feet", enhanced(order=list(range(34))[::-1])),
    Cell("enhanced", "place", "no positions", enhanced(lambda d: [
        delattr(item, "PlanePositionSequence") for item in d.PerFrameFunctionalGroupsSequence]),
        "does not say the position of each of them"),
    Cell("enhanced", "place", "one frame without position", enhanced(per_frame(6, "PlanePositionSequence")),
         "does not say the position of each of them"),
    Cell("enhanced", "place", "a gap", enhanced(gap), "misses 1 of 35 frames"),
    Cell("enhanced", "place", "frames 12 to 25 lie 40 mm to the side", enhanced(sideways), "Frames 12 to 25 of 34"),
    Cell("enhanced", "place", "fewer groups than frames", enhanced(lambda d: d.PerFrameFunctionalGroupsSequence.pop()),
         "declares 34 frames and describes 33"),
    Cell("enhanced", "unit", "one frame with other pixels", enhanced(per_frame(
        6, "PixelMeasuresSequence", PixelSpacing=["3.1", "3.1"])), "Frame 7 of 34"),
    Cell("enhanced", "unit", "no pixel spacing", enhanced(lambda d: delattr(
        d.SharedFunctionalGroupsSequence[0], "PixelMeasuresSequence")), "does not say the pixel size"),
    Cell("enhanced", "scale", "intercept differs from frame to frame", enhanced(intercept=lambda f: -1024 - 1024 * (f % 2)),
         row="Enhanced multi-frame CT whose intercept differs from frame to frame"),
    Cell("enhanced", "scale", "slope differs from frame to frame", enhanced(slope=lambda f: 2.0 ** -(f % 3)),
         row="Enhanced multi-frame CT whose slope differs from frame to frame"),
    Cell("enhanced", "scale", "MR, slope and intercept differ", enhanced(
        slope=lambda f: 2.0 ** -(f % 3), intercept=lambda f: -1024 - f, sop_class=uid.EnhancedMRImageStorage),
        row="Enhanced multi-frame MR whose slope and intercept differ from frame to frame"),
    Cell("enhanced", "scale", "slope 0 in one frame", enhanced(per_frame(
        3, "PixelValueTransformationSequence", RescaleSlope="0", RescaleIntercept="0", RescaleType="HU")),
        "RescaleSlope of 0"),
    Cell("enhanced", "type", "MONOCHROME1", enhanced(lambda d: setattr(d, "PhotometricInterpretation", "MONOCHROME1"))),
    Cell("enhanced", "type", "values as floats", enhanced(lambda d: floats(d)), "as FloatPixelData"),
    Cell("enhanced", "length", "PixelData of 33 of 34 frames", enhanced(lambda d: setattr(
        d, "PixelData", d.PixelData[:-32768])), "x 34 frames x 2 bytes are"),
    Cell("enhanced", "length", "30,000 x 30,000 with kilobytes of data", enhanced(huge), "bytes of voxels, and it holds",
         row="header claims 10 GB (enhanced)"),
    Cell("enhanced", "length", "NumberOfFrames 33 and 34 frames of voxels", enhanced(lambda d: (
        d.PerFrameFunctionalGroupsSequence.pop(), setattr(d, "NumberOfFrames", 33))), "contradicts itself"),
    Cell("enhanced", "orientation", "one frame turned by one degree", enhanced(per_frame(
        6, "PlaneOrientationSequence", ImageOrientationPatient=[-1, 0, 0, 0, -0.9998477, 0.0174524])),
        "Frame 7 of 34 of Chest in … has other orientations"),
    Cell("enhanced", "time", "two time points", enhanced(several_frames_of_time), "34 frames at 17 positions"),
    Cell("enhanced", "identity", "beside a single-frame series", lambda folder: (
        enhanced()(folder), write_series(folder / "ct"), folder)[-1], "holds 2 series"),
    # compressed
    Cell("compressed", "place", "JPEG-LS, slices 12 to 25 lie 40 mm to the side", series(
        lambda d, i: (d.compress(uid.JPEGLSLossless, generate_instance_uid=False), setattr(
            d, "ImagePositionPatient", [float(d.ImagePositionPatient[0]) + 40 * (11 <= i < 25),
                                        *d.ImagePositionPatient[1:]]))[1]), "Slices 12 to 25 of 34"),
    Cell("compressed", "unit", "PixelSpacing 0", series(lambda d, i: (d.compress(
        uid.RLELossless, generate_instance_uid=False), setattr(d, "PixelSpacing", [0, 0]))[1]), "declares pixels of 0"),
    Cell("compressed", "scale", "JPEG-LS, slope and intercept differ from slice to slice", series(lambda d, i: packed(
        rescaled_each(d, i), uid.JPEGLSLossless))),
    Cell("compressed", "scale", "RLE enhanced, intercept differs from frame to frame", enhanced(lambda d: d.compress(
        uid.RLELossless, generate_instance_uid=False), intercept=lambda f: -1024 - 1024 * (f % 2))),
    Cell("compressed", "type", "JPEG-LS", compressed(uid.JPEGLSLossless)),
    Cell("compressed", "type", "RLE", compressed(uid.RLELossless)),
    Cell("compressed", "type", "JPEG Lossless", by_itk("JPEG")),
    Cell("compressed", "type", "JPEG 2000", by_itk("JPEG2000")),
    Cell("compressed", "type", "JPEG Baseline of 8 bits", jpeg, check=check_jpeg),
    Cell("compressed", "type", "deflated", uncompressed(uid.DeflatedExplicitVRLittleEndian)),
    Cell("compressed", "type", "JPEG-LS, MONOCHROME1", series(lambda d, i: (d.compress(
        uid.JPEGLSLossless, generate_instance_uid=False), setattr(d, "PhotometricInterpretation", "MONOCHROME1"))[1])),
    Cell("compressed", "type", "JPEG-LS, signed", series(lambda d, i: packed(signed_slice(i), uid.JPEGLSLossless))),
    Cell("compressed", "type", "RLE, signed", series(lambda d, i: packed(signed_slice(i), uid.RLELossless))),
    *(Cell("compressed", "type", name, of_syntax(syntax), f"is compressed as {name}", row=f"{name} DICOM")
      for name, syntax in (
        ("JPEG XL Lossless", "1.2.840.10008.1.2.4.110"), ("JPEG XL", "1.2.840.10008.1.2.4.112"),
        ("High-Throughput JPEG 2000", "1.2.840.10008.1.2.4.203"), ("JPEG 2000 Part 2", "1.2.840.10008.1.2.4.92"),
        ("MPEG2 Main Profile / Main Level", "1.2.840.10008.1.2.4.100"))),
    Cell("compressed", "length", "JPEG-LS, a file cut", cut(compressed(uid.JPEGLSLossless), 500), "break off"),
    Cell("compressed", "length", "JPEG-LS, a frame cut", packed_frames(
        lambda f: [*f[:-1], f[-1][:1000]]), "frame 34 breaks off"),
    Cell("compressed", "length", "RLE, a frame cut", packed_frames(
        lambda f: [*f[:-1], f[-1][:-10]], uid.RLELossless), "frame 34 breaks off"),
    Cell("compressed", "length", "33 of 34 frames", packed_frames(lambda f: f[:-1]), "declares 34 frames and holds 33"),
    Cell("compressed", "length", "30,000 x 30,000 with kilobytes of data", packed_frames(
        lambda f: f, Rows=30_000, Columns=30_000), "frame 1 declares 30000 x 30000 pixels"),
    Cell("compressed", "length", "Rows and Columns differ from the frames'", packed_frames(
        lambda f: f, Rows=256), "is compressed as 128 x 128 x 1"),
    Cell("compressed", "orientation", "JPEG-LS, from head to feet", enhanced(lambda d: d.compress(
        uid.JPEGLSLossless, generate_instance_uid=False), order=list(range(34))[::-1])),
    Cell("compressed", "time", "RLE, two time points", enhanced(lambda d: (several_frames_of_time(d), d.compress(
        uid.RLELossless, generate_instance_uid=False))), "34 frames at 17 positions"),
    Cell("compressed", "identity", "JPEG-LS, another series has the same SOPInstanceUIDs", lambda folder: (
        compressed_twins(folder), "1.2.826.0.1.3680043.8.498.8"), check=is_brighter),
    # other image classes
    Cell("other classes", "place", "multi-frame CT without positions (cone beam)", cine("CT"),
         "holds 34 frames of CT and does not say the position", row="multi-frame CT without frame positions"),
    Cell("other classes", "place", "multi-frame MR without positions", cine("MR"),
         "holds 34 frames of MR and does not say the position"),
    Cell("other classes", "place", "multi-frame CT with the position of one frame", cine(
        "CT", ImagePositionPatient=position(0), ImageOrientationPatient=[-1, 0, 0, 0, -1, 0], PixelSpacing=[3, 3],
        SpacingBetweenSlices=10), "does not say the position"),
    Cell("other classes", "place", "a secondary capture has none", picture(GREY), check=is_picture(GREY)),
    Cell("other classes", "unit", "PixelSpacing of a secondary capture", picture(GREY, lambda d: setattr(
        d, "PixelSpacing", ["0.5", "0.25"])), check=is_picture(GREY, True, (0.25, 0.5))),
    Cell("other classes", "unit", "ImagerPixelSpacing of a radiograph", picture(GREY, lambda d: setattr(
        d, "ImagerPixelSpacing", ["0.5", "0.25"]), sop_class=uid.ComputedRadiographyImageStorage, modality="CR"),
        check=is_picture(GREY, True, (0.25, 0.5))),
    Cell("other classes", "unit", "a CT screen without PixelSpacing", picture(GREY, modality="CT"),
         "does not say how large its pixels are"),
    Cell("other classes", "scale", "rescale of a secondary capture", picture(GREY, lambda d: (setattr(
        d, "RescaleSlope", "2"), setattr(d, "RescaleIntercept", "-10"))), check=is_picture(GREY * 2.0 - 10)),
    Cell("other classes", "type", "RGB", picture(COLOUR), check=is_picture(COLOUR)),
    Cell("other classes", "type", "RGB in planes", picture(COLOUR, lambda d: (setattr(
        d, "PixelData", np.moveaxis(COLOUR, -1, 0).tobytes()), setattr(d, "PlanarConfiguration", 1))),
        check=is_picture(COLOUR)),
    Cell("other classes", "type", "one bit", picture(GREY, lambda d: (setattr(d, "BitsAllocated", 1), setattr(
        d, "BitsStored", 1), setattr(d, "HighBit", 0), setattr(d, "PixelData", b"\1" * 6)),
        sop_class=uid.MultiFrameSingleBitSecondaryCaptureImageStorage), "1 bits a value"),
    Cell("other classes", "type", "HSV", picture(COLOUR, lambda d: setattr(d, "PhotometricInterpretation", "HSV")),
         "of the kind HSV"),
    Cell("other classes", "length", "a picture cut", cut(picture(GREY), 10), "is cut: 8 x 6 pixels"),
    Cell("other classes", "orientation", "of a secondary capture", reason="it has no patient's axes: "
         "PatientOrientation names directions of a projection, not of a plane in space"),
    Cell("other classes", "time", "ultrasound in time", cine("US", uid.UltrasoundMultiFrameImageStorage),
         check=is_cine),
    Cell("other classes", "identity", "an RT dose by itself", lambda folder: save(dose_dataset(), folder / "dose"),
         "without an image of anatomy: RT Dose"),
    Cell("other classes", "identity", "a SEG by itself", lambda folder: save(segmentation_dataset(
        [slice_dataset(i) for i in range(34)], labels(), "BINARY", names=("Lung",)), folder / "seg"),
        "without an image of anatomy: Segmentation"),
    Cell("other classes", "identity", "a folder with an RT dose only", lambda folder: save(
        dose_dataset(), folder / "d" / "dose").parent, "There is no DICOM image in the folder …/d, only RT Dose"),
)
