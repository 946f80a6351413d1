"""What compressed files can say, one cell a statement."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from dicom_samples import chest, enhanced_dataset, grey_pixels, save, write_series
from PIL import Image
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from sam2adapt.imaging.volume import Volume

from .dicom import (
    Cell,
    cut,
    enhanced,
    is_brighter,
    is_padded,
    pad,
    rescaled_each,
    series,
    several_frames_of_time,
    signed_slice,
    two_series,
    uncompressed,
)


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


def packed(dataset: Dataset, syntax: str) -> Dataset:
    dataset.compress(syntax, generate_instance_uid=False)
    return dataset


def compressed_twins(folder: Path) -> Path:
    path = two_series("1.2.826.0.1.3680043.8.498.8", 100)(folder)
    for file in path.iterdir():
        save(packed(dcmread(file), uid.JPEGLSLossless), file)
    return path


CELLS = (
    Cell(
        "compressed",
        "scale",
        "padding, RLE",
        series(lambda d, i: (pad(d, "u2", 63536), d.compress(uid.RLELossless, generate_instance_uid=False))[0]),
        check=is_padded,
    ),
    # compressed
    Cell(
        "compressed",
        "place",
        "JPEG-LS, slices 12 to 25 lie 40 mm to the side",
        series(
            lambda d, i: (
                d.compress(uid.JPEGLSLossless, generate_instance_uid=False),
                setattr(
                    d,
                    "ImagePositionPatient",
                    [float(d.ImagePositionPatient[0]) + 40 * (11 <= i < 25), *d.ImagePositionPatient[1:]],
                ),
            )[1]
        ),
        "Slices 12 to 25 of 34",
    ),
    Cell(
        "compressed",
        "unit",
        "PixelSpacing 0",
        series(
            lambda d, i: (d.compress(uid.RLELossless, generate_instance_uid=False), setattr(d, "PixelSpacing", [0, 0]))[
                1
            ]
        ),
        "declares pixels of 0",
    ),
    Cell(
        "compressed",
        "scale",
        "JPEG-LS, slope and intercept differ from slice to slice",
        series(lambda d, i: packed(rescaled_each(d, i), uid.JPEGLSLossless)),
    ),
    Cell(
        "compressed",
        "scale",
        "RLE enhanced, intercept differs from frame to frame",
        enhanced(
            lambda d: d.compress(uid.RLELossless, generate_instance_uid=False),
            intercept=lambda f: -1024 - 1024 * (f % 2),
        ),
    ),
    Cell("compressed", "type", "JPEG-LS", compressed(uid.JPEGLSLossless)),
    Cell("compressed", "type", "RLE", compressed(uid.RLELossless)),
    Cell("compressed", "type", "JPEG Lossless", by_itk("JPEG")),
    Cell("compressed", "type", "JPEG 2000", by_itk("JPEG2000")),
    Cell("compressed", "type", "JPEG Baseline of 8 bits", jpeg, check=check_jpeg),
    Cell("compressed", "type", "deflated", uncompressed(uid.DeflatedExplicitVRLittleEndian)),
    Cell(
        "compressed",
        "type",
        "JPEG-LS, MONOCHROME1",
        series(
            lambda d, i: (
                d.compress(uid.JPEGLSLossless, generate_instance_uid=False),
                setattr(d, "PhotometricInterpretation", "MONOCHROME1"),
            )[1]
        ),
    ),
    Cell("compressed", "type", "JPEG-LS, signed", series(lambda d, i: packed(signed_slice(i), uid.JPEGLSLossless))),
    Cell("compressed", "type", "RLE, signed", series(lambda d, i: packed(signed_slice(i), uid.RLELossless))),
    *(
        Cell("compressed", "type", name, of_syntax(syntax), f"is compressed as {name}", row=f"{name} DICOM")
        for name, syntax in (
            ("JPEG XL Lossless", "1.2.840.10008.1.2.4.110"),
            ("JPEG XL", "1.2.840.10008.1.2.4.112"),
            ("High-Throughput JPEG 2000", "1.2.840.10008.1.2.4.203"),
            ("JPEG 2000 Part 2", "1.2.840.10008.1.2.4.92"),
            ("MPEG2 Main Profile / Main Level", "1.2.840.10008.1.2.4.100"),
        )
    ),
    Cell("compressed", "length", "JPEG-LS, a file cut", cut(compressed(uid.JPEGLSLossless), 500), "break off"),
    Cell(
        "compressed",
        "length",
        "JPEG-LS, a frame cut",
        packed_frames(lambda f: [*f[:-1], f[-1][:1000]]),
        "frame 34 breaks off",
    ),
    Cell(
        "compressed",
        "length",
        "RLE, a frame cut",
        packed_frames(lambda f: [*f[:-1], f[-1][:-10]], uid.RLELossless),
        "frame 34 breaks off",
    ),
    Cell("compressed", "length", "33 of 34 frames", packed_frames(lambda f: f[:-1]), "declares 34 frames and holds 33"),
    Cell(
        "compressed",
        "length",
        "30,000 x 30,000 with kilobytes of data",
        packed_frames(lambda f: f, Rows=30_000, Columns=30_000),
        "frame 1 declares 30000 x 30000 pixels",
    ),
    Cell(
        "compressed",
        "length",
        "Rows and Columns differ from the frames'",
        packed_frames(lambda f: f, Rows=256),
        "is compressed as 128 x 128 x 1",
    ),
    Cell(
        "compressed",
        "orientation",
        "JPEG-LS, from head to feet",
        enhanced(lambda d: d.compress(uid.JPEGLSLossless, generate_instance_uid=False), order=list(range(34))[::-1]),
    ),
    Cell(
        "compressed",
        "time",
        "RLE, two time points",
        enhanced(lambda d: (several_frames_of_time(d), d.compress(uid.RLELossless, generate_instance_uid=False))),
        "34 frames at 17 positions",
    ),
    Cell(
        "compressed",
        "identity",
        "JPEG-LS, another series has the same SOPInstanceUIDs",
        lambda folder: (compressed_twins(folder), "1.2.826.0.1.3680043.8.498.8"),
        check=is_brighter,
    ),
)
