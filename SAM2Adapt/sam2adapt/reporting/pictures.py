"""Pictures of a case: slices through it, with the structures outlined and tinted.

Slices lie as radiologists expect: the patient's left on the right, the front of axial slices at the top, the head at
the top of the others.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from ..imaging.volume import Volume
from ..shared.modality import modality_of
from ..shared.slicing_axis import NUMBERS, anatomical_axes, new_model_axis
from .case import Case

_TINT = 0.25  # opacity inside of an outline
_WINDOW = (0.5, 99.5)  # percentiles of the grey levels that become black and white
_SAMPLES = 200_000  # voxels for the percentiles
_AIR = -1024  # Hounsfield units
_QUALITY = 85
_WIDEST = 1.6  # a picture's largest width, in heights
_PICTURE = "picture"  # the plane of an image that has no place in a patient


@dataclass(frozen=True)
class Picture:
    """One slice.

    :ivar plane: "axial", "coronal", "sagittal", or "picture" for photographs.
    :ivar number: of the slice, from 1; ``count``: of the slices in this plane.
    """

    plane: str
    number: int
    count: int
    image: Image.Image

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height

    @property
    def data(self) -> str:
        """The picture as an address (``data:``), for a page that needs no other file."""
        stream = io.BytesIO()
        self.image.save(stream, "JPEG", quality=_QUALITY, subsampling=0)
        return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"

    @property
    def caption(self) -> str:
        return self.plane if self.plane == _PICTURE else f"{self.plane} {self.number} of {self.count}"


class Views:
    """Draws slices of a case."""

    def __init__(self, case: Case):
        self._case, volume = case, case.volume
        order, flips, steps = _orientation(volume)
        self._spacing = [volume.spacing[axis] if volume.physical else 1.0 for axis in order]

        def oriented(array: np.ndarray) -> np.ndarray:  # (..., K, J, I) to (..., rows by S, P, L); no copy
            lead = array.ndim - 3
            return array.transpose(*range(lead), *(lead + 2 - axis for axis in order))[(..., *flips)]

        self._image = oriented(volume.array)
        self._layers = [oriented(layer) for layer in case.layers]
        self._limits = _limits(volume)
        self._steps = steps
        colours = np.zeros((max((s.id for s in case.structures), default=0) + 1, 3))
        for structure in case.structures:
            colours[structure.id] = structure.color
        self._colours = colours

    def planes(self, height: int) -> list[Picture]:
        """The fullest slice of each plane; of a single slice, only this one."""
        return [self.draw(plane, self._fullest(plane), height) for plane in self._planes()]

    def strip(self, count: int, height: int) -> list[Picture]:
        """Slices evenly from the first to the last with a structure, in the plane in which the volume was acquired."""
        plane = self._acquired()
        axis = _axis(plane)
        filled = np.flatnonzero(self._filled(axis))
        first, last = (filled[0], filled[-1]) if len(filled) else (0, self._image.shape[1 + axis] - 1)
        places = np.unique(np.linspace(first, last, count).round().astype(int))
        return [self.draw(plane, int(place), height) for place in places]

    def draw(self, plane: str, place: int, height: int) -> Picture:
        """One slice, ``height`` pixels high or less if it would be too wide."""
        axis = _axis(plane)
        index = [slice(None)] * 3
        index[axis] = place
        grey = np.moveaxis(self._image[(slice(None), *index)], 0, -1)
        labels = [layer[tuple(index)] for layer in self._layers]
        rows, columns = (spacing for other, spacing in enumerate(self._spacing) if other != axis)
        size = _size(grey.shape[:2], rows, columns, height)
        shown = self._shown(grey, size)
        for layer in labels:
            self._paint(shown, np.asarray(_resized(layer, size, Image.Resampling.NEAREST)))
        number = place + 1 if self._steps[axis] > 0 else self._image.shape[1 + axis] - place
        picture = Image.fromarray(shown.clip(0, 255).astype(np.uint8))
        return Picture(plane, number, self._image.shape[1 + axis], picture)

    def _planes(self) -> list[str]:
        if not self._case.volume.physical:
            return [_PICTURE]
        thin = [plane for plane in NUMBERS if self._image.shape[1 + _axis(plane)] == 1]
        return thin[:1] or ["axial", "coronal", "sagittal"]

    def _acquired(self) -> str:
        volume = self._case.volume
        if not volume.physical:
            return _PICTURE
        axis = new_model_axis(volume.size, volume.spacing, volume.direction)
        return next(p for p, n in NUMBERS.items() if anatomical_axes(volume.direction)[n] == axis)

    def _filled(self, axis: int) -> np.ndarray:
        """Voxels of structures in each slice across an axis."""
        others = tuple(other for other in range(3) if other != axis)
        return sum(
            (np.count_nonzero(layer, axis=others) for layer in self._layers), np.zeros(self._image.shape[1 + axis], int)
        )

    def _fullest(self, plane: str) -> int:
        filled = self._filled(_axis(plane))
        return int(filled.argmax()) if filled.any() else len(filled) // 2

    def _shown(self, grey: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Grey levels or colours (H, W, 3) of 0 to 255 as floats."""
        low, high = self._limits
        with np.errstate(invalid="ignore"):
            levels = np.nan_to_num((grey.astype(np.float32) - low) / ((high - low) or 1.0)).clip(0, 1)
        picture = Image.fromarray((255 * levels.repeat(3 // levels.shape[-1], axis=-1)).astype(np.uint8))
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC), np.float32).copy()

    def _paint(self, shown: np.ndarray, labels: np.ndarray) -> None:
        known = np.where(labels < len(self._colours), labels, 0)
        inside = known > 0
        colours = 255 * self._colours[known]
        shown[inside] = (1 - _TINT) * shown[inside] + _TINT * colours[inside]
        outline = find_boundaries(known, mode="inner") & inside
        shown[outline] = colours[outline]


def _axis(plane: str) -> int:
    """Axis of the oriented array across which a plane cuts: it is indexed by S, P, L."""
    return {"axial": 0, _PICTURE: 0, "coronal": 1, "sagittal": 2}[plane]


def _orientation(volume: Volume) -> tuple[list[int], tuple[slice, ...], list[int]]:
    """Voxel axes for the order S, P, L; slices that turn them so that feet, back and left come last; their steps."""
    if not volume.physical:
        return [2, 1, 0], (slice(None),) * 3, [1, 1, 1]
    left, posterior, superior = anatomical_axes(volume.direction)
    order, steps = [superior, posterior, left], []
    for axis, row, sign in zip(order, (2, 1, 0), (-1, 1, 1), strict=True):  # the head is in the first row
        steps.append(1 if sign * volume.direction[row, axis] >= 0 else -1)
    return order, tuple(slice(None, None, step) for step in steps), steps


def _limits(volume: Volume) -> tuple[float, float]:
    """Values that are shown black and white."""
    if volume.array.dtype == np.uint8 and (volume.channels == 3 or not volume.physical):
        return 0.0, 255.0
    values = volume.array.reshape(-1)[:: max(1, volume.array.size // _SAMPLES)]
    values = values[np.isfinite(values)]
    if modality_of(values, volume.modality, volume.channels == 3, volume.physical) == "CT":
        values = values[values >= _AIR]  # scanners pad the round picture with less than air
    low, high = np.percentile(values, _WINDOW) if len(values) else (0.0, 1.0)
    return float(low), float(high)


def _size(shape: tuple[int, ...], rows: float, columns: float, height: int) -> tuple[int, int]:
    """Width and height in pixels."""
    width = height * shape[1] * columns / (shape[0] * rows)
    scale = min(1.0, _WIDEST * height / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(labels: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(labels, np.int32)).resize(size, how)
