"""What each part of filling brings: single opinions, what grey levels and the base ``nano`` add, start and adaptation.

Each is a method of ``fill.py``. All but the single ones see the carried drawings, as the product does.
"""

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
_LARGER = 2  # the base sees so many pixels a side for one


def single(opinion: int) -> Callable[[FillCase, list[int]], np.ndarray]:
    """Only one opinion of the evidence, by its place among ``MAPS``."""

    def fill(case: FillCase, drawn: list[int]) -> np.ndarray:
        return _judged_by(case, drawn, lambda images: lambda own, slice_: own.maps[opinion])

    return fill


def prompted(case: FillCase, drawn: list[int]) -> np.ndarray:
    """The base's own decoder, prompted with the mask and the box of the drawing that was carried along the flow."""
    return _judged_by(case, drawn, _PromptedBase)


def learner(features: Callable | None = None) -> Callable[[FillCase, list[int]], np.ndarray]:
    """What is learnt from the drawn slices alone, without the start."""

    def fill(case: FillCase, drawn: list[int]) -> np.ndarray:
        with mock.patch.object(filler, "load_combiner", lambda path: None):
            return whole(features)(case, drawn)

    return fill


def whole(features: Callable | None = None) -> Callable[[FillCase, list[int]], np.ndarray]:
    """All parts, with other features of the image."""

    def fill(case: FillCase, drawn: list[int]) -> np.ndarray:
        if features is None:
            return _filled(case, drawn)
        with mock.patch.multiple(stack_filler, pixel_features=features(), features_across=_nothing_across):
            return _filled(case, drawn)

    return fill


def _nothing_across(images: np.ndarray, index: int, step: float) -> np.ndarray:
    return np.zeros((0, *images.shape[1:]), np.float32)


def without_adaptation(case: FillCase, drawn: list[int]) -> np.ndarray:
    """All parts but the adaptation of the weighing to the hidden drawn slices."""
    with mock.patch.object(stack_filler, "adapt", lambda *given: stack_filler.Adaptation()):
        return _filled(case, drawn)


def _filled(case: FillCase, drawn: list[int]) -> np.ndarray:
    drawings = drawings_from_labels(sparse(case, drawn), {value: str(value) for value in case.values})
    return labels_of(case, filler.Filler(case.volume).fill(drawings))


def _judged_by(case: FillCase, drawn: list[int], make: Callable) -> np.ndarray:
    """Filled by what a judge, made for the images, says of a structure's evidence in a slice."""
    judges: dict[int, Callable] = {}

    def logits(self, slice_: int) -> np.ndarray:
        judge = judges.setdefault(id(self), make(self.images))
        found = [self.evidence.at(index, slice_) for index in range(len(self.evidence.drawn))]
        nothing = np.full(self.images.shape[1:], -np.inf, np.float32)
        return np.stack([nothing if own is None else judge(own, slice_) for own in found])

    def learn(self, drawings, tell) -> None:
        self.evidence.carry(drawings, tell)

    with mock.patch.multiple(stack_filler.StackFiller, logits=logits, learn=learn):
        return _filled(case, drawn)


class _Base:
    """Features of a base for slices with values about -1 to 1."""

    def __init__(self):
        self.network = load_base("nano")[0]

    def larger(self, size: tuple[int, int]) -> list[int]:
        return [32 * round(_LARGER * n / 32 + 0.5) for n in size]

    @torch.no_grad()
    def maps(self, image: np.ndarray) -> tuple[torch.Tensor, ...]:
        grey = torch.from_numpy(image).float().mul(0.5).add(0.5).clamp(0, 1)[None, None].expand(1, 3, -1, -1)
        return self.network.features(normalise(F.interpolate(grey, self.larger(image.shape), mode="bilinear")).float())


class _BaseFeatures(_Base):
    """The principal components of the base's features, of one slice after the other, in place of grey levels."""

    def __init__(self):
        super().__init__()
        self._axes: torch.Tensor | None = None

    def __call__(self, images: np.ndarray, index: int) -> np.ndarray:
        size = images.shape[1:]
        values = torch.cat([F.interpolate(one, size, mode="bilinear") for one in self.maps(images[index])], 1)[0]
        flat = values.flatten(1).T
        if self._axes is None:
            self._middle, self._scale = flat.mean(0), flat.std(0) + 1e-6
        flat = (flat - self._middle) / self._scale
        if self._axes is None:
            self._axes = torch.linalg.svd(flat[:: max(1, len(flat) // 4000)], full_matrices=False)[2][:_COMPONENTS].T
        return (flat @ self._axes).T.reshape(_COMPONENTS, *size).numpy()


class _Both(_BaseFeatures):
    """Grey-level features and those of the base."""

    def __call__(self, images: np.ndarray, index: int) -> np.ndarray:
        return np.concatenate([pixel_features(images, index), super().__call__(images, index)])


class _PromptedBase(_Base):
    """Masks of the base's decoder."""

    def __init__(self, images: np.ndarray):
        super().__init__()
        self._images, self._maps = images, {}

    @torch.no_grad()
    def __call__(self, own, slice_: int) -> np.ndarray:
        flow = own.maps[1]
        if not (flow > 0).any():
            return flow
        if slice_ not in self._maps:
            self._maps[slice_] = self.maps(self._images[slice_])
        embedding, s0, s1 = self._maps[slice_]
        size, encoder = flow.shape, self.network.sam_prompt_encoder
        rows, columns = np.nonzero(flow > 0)
        # SAM 2 counts in pixels of the image that its prompt encoder believes in.
        scale = np.array(encoder.input_image_size) / size
        corners = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]]) * scale[::-1]
        points = torch.from_numpy(corners.astype(np.float32))[None], torch.tensor([[2, 3]])
        height, width = embedding.shape[-2:]
        mask = F.interpolate(torch.from_numpy(flow)[None, None], (4 * height, 4 * width), mode="bilinear")
        sparse_tokens, _ = encoder(points=points, boxes=None, masks=None)
        dense = encoder.mask_downscaling(mask.clamp(-10, 10))
        masks = self.network.sam_mask_decoder(
            image_embeddings=embedding, image_pe=encoder.pe_layer((height, width))[None],
            sparse_prompt_embeddings=sparse_tokens, dense_prompt_embeddings=dense,
            multimask_output=False, repeat_image=False, high_res_features=[s0, s1],
        )[0]  # fmt: skip
        return F.interpolate(masks, size, mode="bilinear")[0, 0].numpy()


ABLATIONS = {
    "flow only": single(1),
    "growth only": single(2),
    "grey growth only": single(3),
    "nano, prompted": prompted,
    "learner: grey": learner(),
    "learner: nano": learner(_BaseFeatures),
    "learner: both": learner(_Both),
    "no adaptation": without_adaptation,
    "ours: nano": whole(_BaseFeatures),
    "ours: both": whole(_Both),
}
