"""What each part of filling brings: single opinions, the learner without the start, and features of a SAM 2 base."""

from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from fill_cases import FillCase
from fill_peers import labels_of, sparse
from sam2adapt.filling import filler, stack_filler
from sam2adapt.filling.drawings import drawings_from_labels
from sam2adapt.filling.grey import pixel_features
from sam2adapt.network.weights import load_base
from sam2adapt.segmenting.slices import normalise
from torch.nn import functional as F

_COMPONENTS = 12  # of the base's features, by principal components


def _filled(case: FillCase, drawn: list[int]) -> np.ndarray:
    drawings = drawings_from_labels(sparse(case, drawn), {value: str(value) for value in case.values})
    return labels_of(case, filler.Filler(case.volume).fill(drawings))


def single(opinion: int) -> Callable[[FillCase, list[int]], np.ndarray]:
    """Only one opinion: 0 distances, 1 flow, 2 growth."""

    def fill(case: FillCase, drawn: list[int]) -> np.ndarray:
        def logits(self, slice_: int) -> np.ndarray:
            found = [self.evidence.at(index, slice_) for index in range(len(self.evidence.drawn))]
            nothing = np.full(self.images.shape[1:], -np.inf, np.float32)
            return np.stack([nothing if own is None else own.maps[opinion] for own in found])

        with (
            mock.patch.object(stack_filler.StackFiller, "logits", logits),
            mock.patch.object(stack_filler.PixelLearner, "fit"),
        ):
            return _filled(case, drawn)

    return fill


def without_start(case: FillCase, drawn: list[int]) -> np.ndarray:
    """What the learner says, which is trained on the drawn slices alone."""
    with mock.patch.object(filler, "load_combiner", lambda path: None):
        return _filled(case, drawn)


def with_nano(case: FillCase, drawn: list[int]) -> np.ndarray:
    """As ours, and the learner sees features of the base ``nano``, too."""
    base = _BaseFeatures()
    with mock.patch.object(stack_filler, "pixel_features", base):
        return _filled(case, drawn)


def with_nano_without_start(case: FillCase, drawn: list[int]) -> np.ndarray:
    """The learner with features of the base."""
    with mock.patch.object(filler, "load_combiner", lambda path: None):
        return with_nano(case, drawn)


class _BaseFeatures:
    """Grey-level features and the principal components of the base's, of one slice after the other."""

    def __init__(self):
        self._base = load_base("nano")[0]
        self._axes: torch.Tensor | None = None

    @torch.no_grad()
    def __call__(self, images: np.ndarray, index: int) -> np.ndarray:
        size = images.shape[1:]
        grey = torch.from_numpy(images[index]).float().mul(0.5).add(0.5).clamp(0, 1)[None, None].expand(1, 3, -1, -1)
        larger = F.interpolate(grey, [32 * round(2 * n / 32 + 0.5) for n in size], mode="bilinear")
        maps = self._base.features(normalise(larger).float())
        values = torch.cat([F.interpolate(one, size, mode="bilinear") for one in maps], 1)[0]
        flat = values.flatten(1).T
        flat = (flat - flat.mean(0)) / (flat.std(0) + 1e-6)
        if self._axes is None:
            self._axes = torch.linalg.svd(flat[:: max(1, len(flat) // 4000)], full_matrices=False)[2][:_COMPONENTS].T
        reduced = (flat @ self._axes).T.reshape(_COMPONENTS, *size).numpy()
        return np.concatenate([pixel_features(images, index), reduced])


ABLATIONS = {
    "flow only": single(1),
    "growth only": single(2),
    "no start": without_start,
    "no start, nano": with_nano_without_start,
    "with nano": with_nano,
}
