"""Which slices an epoch shows, and each as a training sample; everything follows from seed, epoch and position."""

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import Dataset

from ..slices import with_neighbours
from .losses import IGNORE
from .prepare import PreparedCase

_EMPTY_SHARE = 1 / 3  # of the slices with structures, so many without any are shown
_FEWEST = 128  # samples of an epoch: small training sets are repeated, each time augmented differently


def epoch_slices(cases: list[PreparedCase], seed: int, epoch: int) -> list[tuple[int, int]]:
    """Shuffled (case, slice) pairs of one epoch: all slices with structures and a draw of the annotated empty ones."""
    generator = np.random.default_rng([seed, epoch])
    full = [(c, k) for c, case in enumerate(cases) for k in case.foreground]
    empty = [(c, k) for c, case in enumerate(cases) for k in sorted(set(case.annotated) - set(case.foreground))]
    count = min(len(empty), max(1, round(len(full) * _EMPTY_SHARE)))
    chosen = full + [empty[i] for i in generator.choice(len(empty), count, replace=False)] if empty else full
    chosen = chosen * max(1, -(-_FEWEST // len(chosen)))
    generator.shuffle(chosen)
    return [tuple(int(n) for n in pair) for pair in chosen]


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
        self.transform.set_random_state(int(sequence.generate_state(1)[0]))
        grey = self._channels(case.grey, k)
        target = torch.from_numpy(case.target[k][None].copy())
        (sample,) = self.transform({"image": grey, "label": target, "structures": target * (target != IGNORE)})
        return sample["image"].clamp(0, 1), sample["label"][0].to(torch.uint8)

    def _channels(self, grey: np.ndarray, k: int) -> Tensor:
        first = max(0, k - 1)
        block = torch.from_numpy(grey[first : k + 2].astype(np.float32))
        return with_neighbours(block, k - first, k - first + 1, self.context)[0]
