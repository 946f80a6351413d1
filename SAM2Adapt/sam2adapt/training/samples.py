"""Choose the slices of an epoch, and augment each of them.

All random numbers follow from seed, epoch and position, so that a resumed run gets the same samples.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from monai.data import set_track_meta
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    Randomizable,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)
from monai.utils import MAX_SEED
from torch import Tensor
from torch.utils.data import Dataset

from ..machine.exchange import shard
from ..network.network import Prompts, SegmentationNetwork
from ..segmenting.prefetch import prefetch
from ..segmenting.slices import normalise, with_neighbours
from ..shared.labels.annotation import IGNORE
from .prepare import PreparedCase
from .settings import TrainSettings

warnings.filterwarnings("ignore", message="Num foregrounds 0")  # there are slices without structures on purpose
set_track_meta(False)  # SliceStack keeps the geometry; MONAI's tracking would take half the time of a sample

_SHEAR = 0.1  # tangent of the largest angle
_MARGIN = 1.35  # first crop / final crop, so that rotation and scaling leave no empty corners
_EMPTY_SHARE = 1 / 3  # empty slices for each slice with structures
_FEWEST = 128  # samples of an epoch; slices of small training sets occur several times, augmented differently


def epoch_slices(cases: list[PreparedCase], seed: int, epoch: int) -> list[tuple[int, int]]:
    """Shuffled (case, slice) pairs of one epoch: all slices with structures, and some annotated empty ones.

    Of filled slices, an epoch contains the share that is their weight. If there are slices of a former model, they make
    up half of the epoch.
    """
    generator = np.random.default_rng([seed, epoch])
    new = [(c, case) for c, case in enumerate(cases) if not case.former]
    full = _by_weight(cases, [(c, k) for c, case in new for k in case.foreground], generator)
    empty = [(c, k) for c, case in new for k in sorted(set(case.annotated) - set(case.foreground))]
    empty = _by_weight(cases, empty, generator)
    count = min(len(empty), max(1, round(len(full) * _EMPTY_SHARE)))
    chosen = full + [empty[i] for i in generator.choice(len(empty), count, replace=False)] if empty else full
    chosen = chosen * max(1, -(-_FEWEST // len(chosen)))
    former = [(c, k) for c, case in enumerate(cases) if case.former for k in case.annotated]
    if former:
        drawn = generator.choice(len(former), len(chosen), replace=len(former) < len(chosen))
        chosen = chosen + [former[i] for i in drawn]
    generator.shuffle(chosen)
    return [tuple(int(n) for n in pair) for pair in chosen]


def _by_weight(
    cases: list[PreparedCase], slices: list[tuple[int, int]], generator: np.random.Generator
) -> list[tuple[int, int]]:
    """The slices that weigh 1, and of the others as many as their weights add up to, drawn by these."""
    weights = np.array([1.0 if cases[c].weights is None else cases[c].weights[k] for c, k in slices])
    lighter = np.flatnonzero((weights > 0) & (weights < 1))
    count = round(float(weights[lighter].sum()))
    if not count:
        return [slices[i] for i in np.flatnonzero(weights >= 1)]
    drawn = generator.choice(lighter, count, replace=False, p=weights[lighter] / weights[lighter].sum())
    return [slices[i] for i in sorted([*np.flatnonzero(weights >= 1), *drawn])]


def batches_of(count: int, size: int) -> list[range]:
    """Indices of the samples of each batch in an epoch of ``count`` samples; an incomplete last batch is left out."""
    size = min(size, count)
    return [range(start, start + size) for start in range(0, count - size + 1, size)]


def image_seed(seed: int, epoch: int, place: int) -> int:
    """Seed for dropout and prompts of a sample; augmentation has another seed."""
    return int(np.random.SeedSequence([seed, epoch, place, 1]).generate_state(1)[0])


class EpochSamples(Dataset):
    """Augmented samples of one epoch: images (3, h, w) in 0..1 and targets (h, w) class indices."""

    def __init__(self, cases: list[PreparedCase], transform: Compose, context: int, seed: int, epoch: int):
        self.cases, self.transform, self.context = cases, transform, context
        self.seed, self.epoch = seed, epoch
        self.slices = epoch_slices(cases, seed, epoch)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        number, k = self.slices[index]
        case = self.cases[number]
        sequence = np.random.SeedSequence([self.seed, self.epoch, index])
        reseed(self.transform, int(sequence.generate_state(1)[0]))
        grey = self._channels(case.grey, k)
        target = torch.from_numpy(case.target[k][None].copy())
        (sample,) = self.transform({"image": grey, "label": target, "structures": target * (target != IGNORE)})
        return sample["image"].clamp(0, 1), sample["label"][0].to(torch.uint8)

    def batches(self, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Sequence[Tensor], Tensor]]:
        """Yield (images (B, 3, h, w),) and targets (B, h, w) of samples, computed one batch ahead in a thread."""
        threads = torch.get_num_threads()
        try:
            yield from prefetch(self._load, batches)
        finally:
            # What any thread asks for last is what later threads begin with.
            torch.set_num_threads(threads)

    def _load(self, places: Sequence[int]) -> tuple[Sequence[Tensor], Tensor]:
        torch.set_num_threads(1)  # of this thread; those that run already keep theirs and compute the network
        images, targets = zip(*(self[place] for place in places), strict=True)
        return (torch.stack(images),), torch.stack(targets)

    def _channels(self, grey: np.ndarray, k: int) -> Tensor:
        first = max(0, k - 1)
        block = torch.from_numpy(grey[first : k + 2].astype(np.float32))
        return with_neighbours(block, k - first, k - first + 1, self.context)[0]


class AugmentedSlices:
    """The slices of the cases, augmented differently in each epoch, to train the whole network."""

    def __init__(self, cases: list[PreparedCase], crop: tuple[int, int], context: int, settings: TrainSettings):
        self.cases, self.crop, self.context, self.settings = cases, crop, context, settings
        colour = cases[0].grey.shape[1] == 3
        self.transform = augmentation(crop, settings.rotation, settings.scale, settings.flips, colour)

    def __len__(self) -> int:
        """Samples of an epoch."""
        return len(epoch_slices(self.cases, self.settings.seed, 1))

    def samples(self, epoch: int) -> EpochSamples:
        """Samples of one epoch, in their order."""
        return EpochSamples(self.cases, self.transform, self.context, self.settings.seed, epoch)

    def batches(self, epoch: int, whole: bool = False) -> Iterable[tuple[Sequence[Tensor], Tensor]]:
        """Yield (images (B, 3, h, w) in 0..1,) and targets (B, h, w) class indices.

        :param whole: whole batches instead of the shard of this process.
        """
        samples = self.samples(epoch)
        batches = batches_of(len(samples), self.settings.batch_size)
        batches = batches if whole else [shard(batch) for batch in batches]
        return samples.batches(batches)

    def forward(
        self, network: SegmentationNetwork, inputs: Sequence[Tensor], prompts: Sequence[Prompts] | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute logits, and the input of auxiliary losses, from the images of a batch."""
        return network.forward_with_extras(normalise(inputs[0]), prompts)


def augmentation(
    crop: tuple[int, int], rotation: float, scale: float, flips: list[int], colour: bool = False
) -> Compose:
    """Random crop, affine, flip, contrast, noise, blur and colour of ``image`` (3, H, W) in 0..1, ``label`` (1, H, W).

    Two of three crops are centred on a pixel of ``structures``, which is the label with 0 in pixels that are not
    annotated. The result is a list with one sample, because MONAI's cropping transforms can return several.

    :param crop: rows and columns of the result.
    :param rotation: largest angle, degrees.
    :param scale: largest relative change of size, of rows and columns each.
    :param flips: spatial axes (0 = rows, 1 = columns) that may be mirrored; none where left and right differ.
    :param colour: the channels are red, green and blue, not neighbouring slices, and also change one by one.
    """
    both, wide = ("image", "label"), [round(n * _MARGIN) for n in crop]
    angle = np.deg2rad(rotation)
    transform = Compose(
        [
            SpatialPadd((*both, "structures"), wide),
            RandCropByPosNegLabeld(both, "structures", wide, pos=2, neg=1, num_samples=1),
            RandAffined(
                both,
                prob=1.0,
                rotate_range=angle,
                scale_range=(scale, scale),
                shear_range=_SHEAR,
                translate_range=[n / 16 for n in crop],
                spatial_size=crop,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
                cache_grid=True,
            ),
            *(RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in flips),
            RandScaleIntensityd("image", factors=0.2, prob=0.5),
            *(_balance() if colour else ()),
            RandAdjustContrastd("image", prob=0.5, gamma=(0.7, 1.5)),
            RandGaussianSmoothd("image", sigma_x=(0.4, 1.0), sigma_y=(0.4, 1.0), prob=0.15),
            RandGaussianNoised("image", prob=0.3, std=0.04),
        ]
    )
    return transform.set_random_state(0)  # gives each part a generator


def reseed(transform: Compose, seed: int) -> None:
    """As ``set_random_state``, which makes a new generator for each of a dozen objects, each in 80 microseconds."""
    transform.R.seed(seed)
    for part in transform.transforms:
        if isinstance(part, Randomizable):
            number = transform.R.randint(MAX_SEED, dtype="uint32")
            for nested in _randomizable(part):
                nested.R.seed(number)


def _randomizable(transform: Randomizable) -> Iterator[Randomizable]:
    """A transform and those that it consists of; each has a generator of its own after ``set_random_state``."""
    yield transform
    for value in vars(transform).values():
        if isinstance(value, Randomizable):
            yield from _randomizable(value)


def _balance() -> tuple[RandScaleIntensityd, RandShiftIntensityd]:
    """Vary the colour balance, because cameras and lamps differ in their white, and tissues in their hue."""
    return (
        RandScaleIntensityd("image", factors=0.2, prob=0.5, channel_wise=True),
        RandShiftIntensityd("image", offsets=0.1, prob=0.5, channel_wise=True),
    )
