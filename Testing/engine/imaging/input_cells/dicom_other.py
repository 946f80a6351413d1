"""What projections, pictures, films and other objects can say, one cell a statement."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_samples import (
    chest,
    dose_dataset,
    grey_pixels,
    picture_dataset,
    position,
    save,
    segmentation_dataset,
    slice_dataset,
)
from pydicom import uid
from pydicom.dataset import Dataset
from sam2adapt.imaging.volume import Volume

from .dicom import Cell, cut, labels


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


def is_cine(volume: Volume) -> None:
    np.testing.assert_array_equal(volume.array[0], chest()[0])
    assert not volume.physical  # the third axis is time: no millilitres are claimed


CELLS = (
    Cell(
        "other classes",
        "place",
        "SPECT without the position of each frame",
        cine("NM", uid.NuclearMedicineImageStorage),
        "holds 34 frames of NM and does not say the position",
    ),
    Cell(
        "other classes",
        "place",
        "ultrasound volume in the space of its probe",
        cine("US", uid.EnhancedUSVolumeStorage),
        "holds 34 frames of US and does not say the position",
    ),
    Cell(
        "other classes",
        "place",
        "whole slide in tiles",
        picture(COLOUR, sop_class=uid.VLWholeSlideMicroscopyImageStorage, modality="SM"),
        "is a picture in tiles (VL Whole Slide Microscopy Image)",
    ),
    # other image classes
    Cell(
        "other classes",
        "place",
        "multi-frame CT without positions (cone beam)",
        cine("CT"),
        "holds 34 frames of CT and does not say the position",
        row="multi-frame CT without frame positions",
    ),
    Cell(
        "other classes",
        "place",
        "multi-frame MR without positions",
        cine("MR"),
        "holds 34 frames of MR and does not say the position",
    ),
    Cell(
        "other classes",
        "place",
        "multi-frame CT with the position of one frame",
        cine(
            "CT",
            ImagePositionPatient=position(0),
            ImageOrientationPatient=[-1, 0, 0, 0, -1, 0],
            PixelSpacing=[3, 3],
            SpacingBetweenSlices=10,
        ),
        "does not say the position",
    ),
    Cell("other classes", "place", "a secondary capture has none", picture(GREY), check=is_picture(GREY)),
    Cell(
        "other classes",
        "unit",
        "PixelSpacing of a secondary capture",
        picture(GREY, lambda d: setattr(d, "PixelSpacing", ["0.5", "0.25"])),
        check=is_picture(GREY, True, (0.25, 0.5)),
    ),
    Cell(
        "other classes",
        "unit",
        "ImagerPixelSpacing of a radiograph",
        picture(
            GREY,
            lambda d: setattr(d, "ImagerPixelSpacing", ["0.5", "0.25"]),
            sop_class=uid.ComputedRadiographyImageStorage,
            modality="CR",
        ),
        check=is_picture(GREY, True, (0.25, 0.5)),
    ),
    Cell(
        "other classes",
        "unit",
        "a CT screen without PixelSpacing",
        picture(GREY, modality="CT"),
        "does not say how large its pixels are",
    ),
    Cell(
        "other classes",
        "scale",
        "rescale of a secondary capture",
        picture(GREY, lambda d: (setattr(d, "RescaleSlope", "2"), setattr(d, "RescaleIntercept", "-10"))),
        check=is_picture(GREY * 2.0 - 10),
    ),
    Cell("other classes", "type", "RGB", picture(COLOUR), check=is_picture(COLOUR)),
    Cell(
        "other classes",
        "type",
        "RGB in planes",
        picture(
            COLOUR,
            lambda d: (
                setattr(d, "PixelData", np.moveaxis(COLOUR, -1, 0).tobytes()),
                setattr(d, "PlanarConfiguration", 1),
            ),
        ),
        check=is_picture(COLOUR),
    ),
    Cell(
        "other classes",
        "type",
        "one bit",
        picture(
            GREY,
            lambda d: (
                setattr(d, "BitsAllocated", 1),
                setattr(d, "BitsStored", 1),
                setattr(d, "HighBit", 0),
                setattr(d, "PixelData", b"\1" * 6),
            ),
            sop_class=uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
        ),
        "1 bits a value",
    ),
    Cell(
        "other classes",
        "type",
        "HSV",
        picture(COLOUR, lambda d: setattr(d, "PhotometricInterpretation", "HSV")),
        "of the kind HSV",
    ),
    Cell("other classes", "length", "a picture cut", cut(picture(GREY), 10), "is cut: 8 x 6 pixels"),
    Cell(
        "other classes",
        "orientation",
        "of a secondary capture",
        reason="it has no patient's axes: PatientOrientation names directions of a projection, not of a plane in space",
    ),
    Cell(
        "other classes", "time", "ultrasound in time", cine("US", uid.UltrasoundMultiFrameImageStorage), check=is_cine
    ),
    Cell(
        "other classes",
        "identity",
        "an RT dose by itself",
        lambda folder: save(dose_dataset(), folder / "dose"),
        "without an image of anatomy: RT Dose",
    ),
    Cell(
        "other classes",
        "identity",
        "a SEG by itself",
        lambda folder: save(
            segmentation_dataset([slice_dataset(i) for i in range(34)], labels(), "BINARY", names=("Lung",)),
            folder / "seg",
        ),
        "without an image of anatomy: Segmentation",
    ),
    Cell(
        "other classes",
        "identity",
        "a folder with an RT dose only",
        lambda folder: save(dose_dataset(), folder / "d" / "dose").parent,
        "There is no DICOM image in the folder …/d, only RT Dose",
    ),
)
