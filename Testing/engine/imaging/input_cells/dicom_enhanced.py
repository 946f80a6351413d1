"""What enhanced multi-frame files can say, one cell a statement."""

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
from dicom_samples import group, position, save, slice_dataset, write_series
from pydicom import uid
from pydicom.dataset import Dataset

from .dicom import Cell, enhanced, is_padded, pad, several_frames_of_time


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


def huge(dataset: Dataset, index: int = 0) -> None:
    dataset.Rows = dataset.Columns = 30_000


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


def floats(dataset: Dataset) -> None:
    values = np.frombuffer(dataset.PixelData, "<u2").astype("<f4").tobytes()
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.FloatPixelData, dataset.BitsAllocated = values, 32


CELLS = (
    Cell("enhanced", "scale", "padding, high and unsigned", enhanced(lambda d: pad(d, "u2", 63536)), check=is_padded),
    Cell(
        "enhanced",
        "scale",
        "padding, MR, a range",
        enhanced(lambda d: pad(d, "u2", 65535, 65000), sop_class=uid.EnhancedMRImageStorage),
        check=is_padded,
    ),
    Cell(
        "enhanced",
        "scale",
        "one frame in another unit",
        enhanced(
            per_frame(
                9, "PixelValueTransformationSequence", RescaleSlope="1", RescaleIntercept="-1024", RescaleType="EDW"
            )
        ),
        "is CT with values in 'EDW'",
        model="CT",
    ),
    # enhanced multi-frame
    Cell("enhanced", "place", "as it is", enhanced()),
    Cell("enhanced", "place", "legacy converted by highdicom", legacy),
    Cell("enhanced", "place", "frames in another order", enhanced(order=[*range(17, 34), *range(17)])),
    Cell("enhanced", "place", "frames from head to feet", enhanced(order=list(range(34))[::-1])),
    Cell(
        "enhanced",
        "place",
        "no positions",
        enhanced(lambda d: [delattr(item, "PlanePositionSequence") for item in d.PerFrameFunctionalGroupsSequence]),
        "does not say the position of each of them",
    ),
    Cell(
        "enhanced",
        "place",
        "one frame without position",
        enhanced(per_frame(6, "PlanePositionSequence")),
        "does not say the position of each of them",
    ),
    Cell("enhanced", "place", "a gap", enhanced(gap), "misses 1 of 35 frames"),
    Cell("enhanced", "place", "frames 12 to 25 lie 40 mm to the side", enhanced(sideways), "Frames 12 to 25 of 34"),
    Cell(
        "enhanced",
        "place",
        "fewer groups than frames",
        enhanced(lambda d: d.PerFrameFunctionalGroupsSequence.pop()),
        "declares 34 frames and describes 33",
    ),
    Cell(
        "enhanced",
        "unit",
        "one frame with other pixels",
        enhanced(per_frame(6, "PixelMeasuresSequence", PixelSpacing=["3.1", "3.1"])),
        "Frame 7 of 34",
    ),
    Cell(
        "enhanced",
        "unit",
        "no pixel spacing",
        enhanced(lambda d: delattr(d.SharedFunctionalGroupsSequence[0], "PixelMeasuresSequence")),
        "does not say the pixel size",
    ),
    Cell(
        "enhanced",
        "scale",
        "intercept differs from frame to frame",
        enhanced(intercept=lambda f: -1024 - 1024 * (f % 2)),
        row="Enhanced multi-frame CT whose intercept differs from frame to frame",
    ),
    Cell(
        "enhanced",
        "scale",
        "slope differs from frame to frame",
        enhanced(slope=lambda f: 2.0 ** -(f % 3)),
        row="Enhanced multi-frame CT whose slope differs from frame to frame",
    ),
    Cell(
        "enhanced",
        "scale",
        "MR, slope and intercept differ",
        enhanced(slope=lambda f: 2.0 ** -(f % 3), intercept=lambda f: -1024 - f, sop_class=uid.EnhancedMRImageStorage),
        row="Enhanced multi-frame MR whose slope and intercept differ from frame to frame",
    ),
    Cell(
        "enhanced",
        "scale",
        "slope 0 in one frame",
        enhanced(
            per_frame(3, "PixelValueTransformationSequence", RescaleSlope="0", RescaleIntercept="0", RescaleType="HU")
        ),
        "RescaleSlope of 0",
    ),
    Cell(
        "enhanced",
        "scale",
        "one frame without slope and intercept",
        enhanced(per_frame(6, "PixelValueTransformationSequence")),
        "for 33 of its 34 frames only",
    ),
    Cell("enhanced", "type", "MONOCHROME1", enhanced(lambda d: setattr(d, "PhotometricInterpretation", "MONOCHROME1"))),
    Cell("enhanced", "type", "values as floats", enhanced(floats), "as FloatPixelData"),
    Cell(
        "enhanced",
        "length",
        "PixelData of 33 of 34 frames",
        enhanced(lambda d: setattr(d, "PixelData", d.PixelData[:-32768])),
        "x 34 frames x 2 bytes are",
    ),
    Cell(
        "enhanced",
        "length",
        "30,000 x 30,000 with kilobytes of data",
        enhanced(huge),
        "bytes of voxels, and it holds",
        row="header claims 10 GB (enhanced)",
    ),
    Cell(
        "enhanced",
        "length",
        "NumberOfFrames 33 and 34 frames of voxels",
        enhanced(lambda d: (d.PerFrameFunctionalGroupsSequence.pop(), setattr(d, "NumberOfFrames", 33))),
        "contradicts itself",
    ),
    Cell(
        "enhanced",
        "orientation",
        "one frame turned by one degree",
        enhanced(
            per_frame(6, "PlaneOrientationSequence", ImageOrientationPatient=[-1, 0, 0, 0, -0.9998477, 0.0174524])
        ),
        "Frame 7 of 34 of Chest in … has other orientations",
    ),
    Cell("enhanced", "time", "two time points", enhanced(several_frames_of_time), "34 frames at 17 positions"),
    Cell(
        "enhanced",
        "identity",
        "beside a single-frame series",
        lambda folder: (enhanced()(folder), write_series(folder / "ct"), folder)[-1],
        "holds 2 series",
    ),
)
