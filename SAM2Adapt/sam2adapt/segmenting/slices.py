"""Turn volumes into input of the network: orient, cut into slices, resample in plane, normalise; and back exactly.

Axes are only permuted and flipped, never resampled, so the same patient gives the same slices, whatever the axis order
of the stored volume. Resampling maps the whole field of view of a slice onto the model's grid, pixel edges onto pixel
edges, so that the way back is the inverse of the same map.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..imaging.volume import Volume
from ..shared import slicing_axis
from ..shared.errors import ModalityError, VolumeError
from ..shared.modality import is_hounsfield, modality_of

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LETTERS = ("LR", "PA", "SI")  # positive and negative end of the LPS axes
_BINS = 1 << 16
_MOST_PIXELS = 1 << 23  # of a slice on the model's grid; its features take some GB
_HOUNSFIELD = ("", "HU", "HU_MOD")  # RescaleType; HU_MOD: modified, of spectral CT
_TO_HOUNSFIELD = (
    "If it is CT whose values are not in Hounsfield units (HU), convert them first: values from 0 to 4095 usually need "
    "1024 subtracted."
)


@dataclass(frozen=True)
class Normalization:
    """How grey levels become 0 to 1: by a fixed ``window`` or ``range``, or by each volume's ``percentile``."""

    kind: str
    low: float
    high: float

    def limits(self, array: np.ndarray) -> tuple[float, float]:
        """Grey levels (low, high) of one volume that become 0 and 1."""
        if self.kind != "percentile":
            return self.low, self.high
        low, high = float(array.min()), float(array.max())
        # A histogram, because its result does not depend on the order of the voxels.
        levels, occurrences = _grey_levels(array)
        counts, edges = np.histogram(levels, bins=_BINS, range=(low, high), weights=occurrences)
        cumulative = np.cumsum(counts) / array.size
        at = np.searchsorted(cumulative, (self.low / 100, self.high / 100))
        return float(edges[at[0]]), float(edges[min(at[1] + 1, _BINS)])


def _grey_levels(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey levels and how often each occurs; (all voxels, None) for types where counting is not faster."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize > 2:
        return array, None
    low, high = int(array.min()), int(array.max())
    counts = np.zeros(high - low + 1, np.int64)
    for channel in array:
        for plane in channel:  # one plane at a time: numpy.bincount copies to 64 bits
            counts += np.bincount((plane.astype(np.int32) - low).ravel(), minlength=len(counts))
    return np.arange(low, high + 1), counts


@dataclass(frozen=True)
class SliceSettings:
    """How a model cuts volumes into slices (the card's ``slices``).

    :param orientation: anatomical directions in which the oriented axes I, J, K increase, for example ``LPS``.
    :param axis: ``axial``, ``coronal``, ``sagittal`` or ``acquisition`` (the axis of the largest spacing).
    :param spacing: millimetres (row, column) of the model's grid; None: the longest side becomes ``size`` pixels.
    :param context: number of neighbours (0 or 1) above and below that a one-channel slice gets as other channels.
    """

    normalization: Normalization
    orientation: str = "LPS"
    axis: str = slicing_axis.ACQUISITION
    spacing: tuple[float, float] | None = None
    size: int | None = None
    context: int = 1

    @classmethod
    def from_card(cls, slices: dict) -> "SliceSettings":
        """Read the ``slices`` of a card."""
        spacing = slices["spacing"]
        return cls(
            normalization=Normalization(**slices["normalization"]),
            **{key: slices[key] for key in ("orientation", "axis", "size", "context")},
            spacing=tuple(spacing) if spacing else None,
        )

    def to_card(self) -> dict:
        """The ``slices`` of a card."""
        card = asdict(self)
        card["spacing"] = list(self.spacing) if self.spacing else None
        return card


def orientation_axes(direction: np.ndarray, orientation: str = "LPS") -> tuple[list[int], list[bool]]:
    """Find the voxel axis of each letter of an orientation, and whether to flip it.

    :param direction: (3, 3) direction cosines, columns for I, J, K, rows L, P, S.
    :return: for each letter, the index of the voxel axis (0 = I), and whether it must be flipped.
    """
    rows = [next(i for i, pair in enumerate(_LETTERS) if letter in pair) for letter in orientation]
    anatomical = slicing_axis.anatomical_axes(direction)
    axes = [anatomical[row] for row in rows]
    flips = [
        bool(direction[row, axis] < 0) != (letter == _LETTERS[row][1])
        for row, axis, letter in zip(rows, axes, orientation, strict=True)
    ]
    return axes, flips


class SliceStack:
    """A volume as N slices (H, W), oriented as the model needs them.

    :param volume: with one channel (CT, MR) or three (colour).
    :param settings: those of the model.
    """

    def __init__(self, volume: Volume, settings: SliceSettings):
        self.volume, self.settings = volume, settings
        axes, self._flips = orientation_axes(volume.direction, settings.orientation)
        spacing = [float(volume.spacing[axis]) for axis in axes]
        sizes = [volume.size[axis] for axis in axes]
        self.axis = _slicing_axis(settings, spacing, sizes, volume)
        rows, columns = (2, 1) if self.axis == 0 else (2, 0) if self.axis == 1 else (1, 0)
        # numpy order of (C, K, J, I): voxel axis a is array axis 3 - a.
        self._order = [0, *(3 - axes[a] for a in (self.axis, rows, columns))]
        self._reversed = [False, *(self._flips[a] for a in (self.axis, rows, columns))]
        self.array = self._forward(volume.array)
        self.native_size = self.array.shape[2:]
        self.native_spacing = (spacing[rows], spacing[columns])
        self.size = _grid_size(self.native_size, self.native_spacing, settings)
        if self.size[0] * self.size[1] > _MOST_PIXELS:
            raise VolumeError(
                f"The slices of '{volume.name}' would be {self.size[0]} x {self.size[1]} pixels on the model's grid,"
                f" and {_MOST_PIXELS:,} pixels are the most that a network is given.",
                "Check the voxel size of the volume, or choose a model for images of this size.",
            )
        self._limits: tuple[float, float] | None = None

    def __len__(self) -> int:
        return self.array.shape[1]

    def _forward(self, array: np.ndarray) -> np.ndarray:
        return array.transpose(self._order)[tuple(slice(None, None, -1) if r else slice(None) for r in self._reversed)]

    @property
    def limits(self) -> tuple[float, float]:
        """Grey levels that become 0 and 1 (computed once for a volume)."""
        if self._limits is None:
            self._limits = self.settings.normalization.limits(self.volume.array)
        return self._limits

    def oriented(self, array: np.ndarray) -> np.ndarray:
        """View another array (K, J, I) on the volume's grid in the order (N, H, W) of this stack."""
        return self._forward(array[None])[0]

    def restored(self, array: np.ndarray) -> np.ndarray:
        """View an array (N, H, W) of this stack in the order (K, J, I) of the volume."""
        array = array[None][tuple(slice(None, None, -1) if r else slice(None) for r in self._reversed)]
        return array.transpose(np.argsort(self._order))[0]

    @property
    def array_axis(self) -> int:
        """Index of the axis of an array (K, J, I) across the slices."""
        return self._order[1] - 1

    def array_slice(self, number: int) -> int:
        """Index along ``array_axis`` of a slice of the stack."""
        return len(self) - 1 - number if self._reversed[1] else number

    def places_of(self, voxels: np.ndarray) -> np.ndarray:
        """Slice, row and column (P, 3) of voxels (P, 3), which are indexed I, J, K."""
        columns = [voxels[:, 3 - axis] for axis in self._order[1:]]
        last = np.array(self.array.shape[1:]) - 1
        places = np.stack(columns, axis=1)
        return np.where(self._reversed[1:], last - places, places)

    def slice_range(self, region: tuple[slice, slice, slice]) -> tuple[int, int]:
        """First slice that touches a region (K, J, I) of the volume's grid, and the one after the last."""
        axis = self._order[1]
        touched = np.zeros(self.volume.array.shape[axis], bool)
        touched[region[axis - 1]] = True
        slices = np.flatnonzero(touched[::-1] if self._reversed[1] else touched)
        return int(slices[0]), int(slices[-1]) + 1

    def grey(self, start: int, stop: int) -> Tensor:
        """Slices start to stop - 1 on the model's grid, scaled to 0 to 1: (stop - start, C, h, w) float32."""
        low, high = self.limits
        # Always a copy: to numpy, a flipped axis of one voxel is contiguous, but torch refuses its negative stride.
        block = np.array(self.array[:, start:stop].swapaxes(0, 1), dtype=np.float32, order="C")
        tensor = torch.from_numpy(block)
        if tensor.shape[-2:] != self.size:
            tensor = F.interpolate(tensor, size=self.size, mode="bilinear", align_corners=False, antialias=True)
        return ((tensor - low) / ((high - low) or 1.0)).clamp_(0, 1)

    def batch(self, start: int, stop: int) -> Tensor:
        """Input for slices start to stop - 1: (stop - start, 3, h, w), normalised, with neighbours as channels."""
        context = self.settings.context if self.array.shape[0] == 1 else 0
        first, last = max(0, start - context), min(len(self), stop + context)
        return normalise(with_neighbours(self.grey(first, last), start - first, stop - first, context))


def with_neighbours(grey: Tensor, start: int, stop: int, context: int) -> Tensor:
    """Make channels k-1, k, k+1 for the slices start to stop - 1 of (N, 1, h, w); the end slices are repeated.

    Slices with three channels stay as they are. Without context, the one channel is repeated.
    """
    if grey.shape[1] == 3:
        return grey[start:stop]
    offsets = (-1, 0, 1) if context else (0, 0, 0)
    at = [torch.arange(start + o, stop + o).clamp(0, len(grey) - 1) for o in offsets]
    return torch.cat([grey[index] for index in at], dim=1)


def normalise(images: Tensor) -> Tensor:
    """Normalise (B, 3, H, W), 0 to 1, by the mean and deviation of ImageNet, as for SAM2."""
    mean = images.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    return (images - mean) / images.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)


def check_colour(volume: Volume, modality: str, model: str) -> None:
    """Refuse colour for a model of scanner volumes, and the reverse.

    :raises ModalityError: one of them is in colour and the other is not.
    """
    colour = volume.channels == 3
    if colour != (modality == "RGB"):
        raise ModalityError(
            f"'{volume.title}' is {'a colour image' if colour else 'not a colour image'} and model '{model}' was"
            f" trained on {modality}.",
            f"Choose a model for {'colour images' if colour else 'this modality'}, or another volume.",
        )


def check_modality(volume: Volume, modality: str, model: str) -> None:
    """Refuse a volume of another modality than the model's: colour or not, CT or MR.

    The DICOM tag tells the modality of a volume; without it, the grey levels do.

    :raises ModalityError: the volume is known to be of another modality, or is CT but not in Hounsfield units.
    """
    check_colour(volume, modality, model)
    colour = volume.channels == 3
    looks = modality_of(volume.array, volume.modality, colour, volume.physical)
    if {looks, modality} == {"CT", "MR"}:
        verb = "is" if volume.modality else "has the grey levels of"
        hint = f"{_TO_HOUNSFIELD} " if modality == "CT" and not volume.modality else ""
        raise ModalityError(
            f"'{volume.title}' {verb} {looks} and model '{model}' was trained on {modality}.",
            f"{hint}Choose a model for {looks}, or allow any modality to try it anyway.",
            setting="any_modality",
        )
    if volume.modality == modality == "CT" and volume.unit not in _HOUNSFIELD:
        raise ModalityError(
            f"'{volume.title}' is CT with values in '{volume.unit}', and model '{model}' was trained on Hounsfield"
            " units (HU).",
            "Choose the series in Hounsfield units, or allow any modality to try it anyway.",
            setting="any_modality",
        )
    if volume.modality == modality == "CT" and not is_hounsfield(volume.array):
        raise ModalityError(
            f"'{volume.title}' is CT with values of {volume.array.min():g} to {volume.array.max():g}: Hounsfield units "
            f"(HU), on which model '{model}' was trained, reach -1000 in air.",
            f"{_TO_HOUNSFIELD} Or allow any modality to try it anyway.",
            setting="any_modality",
        )


def _slicing_axis(settings: SliceSettings, spacing: list[float], sizes: list[int], volume: Volume) -> int:
    """Index of the axis to slice along, from 0 = I to 2 = K of the oriented axes."""
    ends = slicing_axis.ENDS.get(settings.axis)
    if ends is None:
        return slicing_axis.acquisition_axis(sizes, spacing)
    thin = [a for a in range(3) if sizes[a] == 1]
    axis = next(a for a in range(3) if settings.orientation[a] in ends)
    if thin and axis not in thin:
        if not volume.physical:
            return thin[-1]
        raise VolumeError(
            f"'{volume.title}' is a single slice that is not {settings.axis}, as the model needs it.",
            "Choose a model for this plane, or a whole volume.",
        )
    return axis


def _grid_size(native: tuple[int, int], spacing: tuple[float, float], settings: SliceSettings) -> tuple[int, int]:
    """Rows and columns of the model's grid for one slice."""
    if settings.spacing:
        scales = [s / t for s, t in zip(spacing, settings.spacing, strict=True)]
    else:
        scales = [settings.size / max(native)] * 2
    return tuple(max(1, round(min(n * scale, 1e9))) for n, scale in zip(native, scales, strict=True))
