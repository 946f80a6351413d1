"""The cases of the filling benchmark: which slices are drawn of which volumes."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicerio
from sam2adapt.imaging.volume import Volume, read_labels, read_segments, read_volume
from scipy import ndimage

DENSITIES = ("2", "3", "4", "8", "three")
_CHEST = {"right lung": 1, "left lung": 2, "thoracic vertebral column": 3, "lumbar vertebral column": 3,
          "cervical vertebral column": 3}  # fmt: skip
_SKIN, _BONE = -300, 220  # HU


@dataclass(frozen=True)
class FillCase:
    """A volume with its truth.

    :ivar axis: array axis across the slices that are drawn.
    :ivar truth: (K, J, I) labels.
    """

    set: str
    name: str
    volume: Volume
    truth: np.ndarray
    axis: int = 0

    @property
    def values(self) -> list[int]:
        return [int(value) for value in np.unique(self.truth) if value]

    def drawn(self, density: str) -> list[int]:
        """Slices that are drawn: every n-th from the first, and the last; or first, middle and last with structures.

        Of CTChest4 the last is not added, as in the published figures of the peers.
        """
        view = np.moveaxis(self.truth, self.axis, 0)
        if density == "three":
            used = np.flatnonzero(view.any((1, 2)))
            return sorted({int(used[0]), int(used[0] + used[-1]) // 2, int(used[-1])})
        drawn = list(range(0, len(view), int(density)))
        return drawn if self.set.startswith("ctchest4") else sorted({*drawn, len(view) - 1})


def cases_of(name: str, data: Path, part: str, limit: int | None) -> Iterator[FillCase]:
    """The cases of a set, at most so many.

    :param part: "val", or "train" to choose settings on.
    """
    yield from SETS[name][0](name, data, part, limit)


def _pack(name: str, data: Path, part: str, limit: int | None) -> Iterator[FillCase]:
    ids = json.loads((data / name / "split.json").read_text("utf-8"))[part]
    if name == "acdc":
        ids = [f"{one}_frame0{frame}" for frame in (1, 2) for one in ids]
    if part == "train" and limit:
        ids = ids[:: max(1, len(ids) // limit)]
    for one in ids[:limit]:
        volume = read_volume(data / name / "images" / f"{one}.nii.gz")
        labels = read_labels(data / name / "labels" / f"{one}.nii.gz").array[0]
        yield FillCase(name, one, volume, labels, 1 if name == "hippocampus" else 0)


def _chest(name: str, data: Path, part: str, limit: int | None) -> Iterator[FillCase]:
    volume = read_volume(slicerio.get_testdata_file("CTChest4.nrrd"))
    if name == "ctchest4":  # without the padding below air, which the other set keeps
        volume = volume.with_array(np.clip(volume.array, -1000, 400))
    truth = np.zeros(volume.array.shape[1:], np.uint8)
    for structure, mask in read_segments(slicerio.get_testdata_file("Segmentation.seg.nrrd")):
        if structure.name in _CHEST:
            truth[mask] = _CHEST[structure.name]
    yield FillCase(name, "CTChest4", volume, truth)


def ct_case(name: str, data: Path, most: int = 255) -> FillCase:
    """A volume of ``ct_sample`` with its largest structures."""
    folder = data / "ct_sample" / name
    truth = read_labels(folder / "label.nii.gz").array[0]
    counts = np.bincount(truth.ravel())
    counts[0] = 0
    truth = np.where(np.isin(truth, np.argsort(counts)[-most:]), truth, 0)
    return FillCase(name, name, read_volume(folder / "image.nii.gz"), truth.astype(np.uint8))


def _ct(name: str, data: Path, part: str, limit: int | None) -> Iterator[FillCase]:
    yield ct_case(name, data, 8)  # what an annotator would draw side by side


def _chaos_parts(name: str, data: Path, part: str, limit: int | None) -> Iterator[FillCase]:
    """The liver, and bone and the rest of the body by a fixed threshold, as an annotator makes them."""
    case = ct_case("chaos_ct", data)
    grey = case.volume.array[0]
    body = np.stack([ndimage.binary_fill_holes(_largest(slice_ > _SKIN)) for slice_ in grey])
    bone = ndimage.binary_opening(body & (grey > _BONE), np.ones((1, 2, 2)))
    truth = np.where(case.truth == 1, 1, np.where(bone, 3, np.where(body, 2, 0)))
    yield FillCase(name, name, case.volume, truth.astype(np.uint8))


def _largest(mask: np.ndarray) -> np.ndarray:
    pieces, _ = ndimage.label(mask)
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1


SETS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "ctchest4": (_chest, ("4", "8", "2", "three")),
    "ctchest4 as stored": (_chest, ("4", "8")),
    "acdc": (_pack, ("3", "2", "8", "three")),
    "hippocampus": (_pack, ("4", "2", "8", "three")),
    "la": (_pack, ("8", "4", "2", "three")),
    "ts_ct_3mm": (_ct, ("4", "8", "2", "three")),
    "chaos_ct": (_ct, ("8", "4", "2", "three")),
    "chaos_ct parts": (_chaos_parts, ("8", "three")),
}
