"""Values of each frame: from its own functional group, in the shared one, or in the file itself (PS3.3 C.7.6.16)."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.dataset import Dataset

from ...shared.errors import InputFileError
from .elements import COPY_AGAIN, numbers_of, text_of


def frame_groups(path: str, dataset: Dataset, frames: int) -> Iterator[tuple[Dataset, ...]]:
    """For each frame where its values may stand: in its own group, in the shared one, or in the file itself."""
    per_frame, shared = dataset.get("PerFrameFunctionalGroupsSequence"), dataset.get("SharedFunctionalGroupsSequence")
    if per_frame and len(per_frame) != frames:
        raise InputFileError(
            f"{path} is damaged: it declares {frames} frames and describes {len(per_frame)}.", COPY_AGAIN
        )
    common = tuple(shared or ())[:1]
    for number in range(frames):
        yield (*((per_frame[number],) if per_frame else ()), *common, dataset)


def of_frames(path: str, groups: Sequence[tuple[Dataset, ...]], keys: tuple[str, str], count: int
               ) -> np.ndarray | None:  # fmt: skip
    """(frames, count) values of all frames; None where one frame lacks them.

    :param keys: the sequence of the functional group, and the element in it.
    """
    known: dict[int, tuple[float, ...]] = {}  # a shared group is looked at once, not for every frame
    values = []
    for places in groups:
        numbers: tuple[float, ...] = ()
        for place in places:
            if id(place) not in known:
                # the position of a file with many frames is that of none of them
                skipped = len(groups) > 1 and "Rows" in place and keys[1] == "ImagePositionPatient"
                known[id(place)] = () if skipped else numbers_of(path, _macro(place, keys[0]), keys[1], count)
            if numbers := known[id(place)]:
                break
        if not numbers:
            return None
        values.append(numbers)
    return np.array(values, dtype=np.float64)


def frames_with(path: str, groups: Sequence[tuple[Dataset, ...]], keys: tuple[str, str]) -> int:
    """How many frames have an element."""
    return sum(any(numbers_of(path, _macro(place, keys[0]), keys[1], 1) for place in places) for places in groups)


def _macro(group: Dataset, sequence: str) -> Dataset:
    """The item of a functional group, or the file itself where it has none."""
    if "Rows" in group:
        return group
    items = group.get(sequence)
    return items[0] if items else Dataset()


def plane_spacing(path: str, groups: Sequence[tuple[Dataset, ...]], dataset: Dataset) -> np.ndarray | None:
    """(1, 2) of an image by itself: in the patient, or at the detector or scanner of a projection or picture."""
    spacing = of_frames(path, groups, ("PixelMeasuresSequence", "PixelSpacing"), 2)
    for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if spacing is None and (numbers := numbers_of(path, dataset, keyword, 2)):
            spacing = np.array([numbers])
    return spacing


def thickness(path: str, groups: Sequence[tuple[Dataset, ...]]) -> float:
    """Millimetres from slice to slice as the first frame declares them, 0 where it does not."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = of_frames(path, groups[:1], ("PixelMeasuresSequence", keyword), 1)
        if value is not None and value[0, 0] > 0:
            return float(value[0, 0])
    return 0.0


def rescale_type(groups: Sequence[tuple[Dataset, ...]], sequence: str) -> str:
    """Of all frames; where they differ, one that is not HU."""
    types = {}
    for places in groups:
        for place in places:
            if id(place) not in types:
                types[id(place)] = text_of(_macro(place, sequence), "RescaleType")
            if types[id(place)]:
                break
    units = set(types.values()) - {""}
    return min(units - {"HU"}, default="HU" if units else "")
