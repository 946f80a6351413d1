"""What each part of filling brings: single opinions, what grey levels and the base ``nano`` add, start and adaptation.

Each is a method of ``fill.py``. *Learner* is what is learnt from the drawn slices alone, without the start; *ours* is
all of it with one part changed or taken away. All but the single opinions see the carried drawings, as the product.
"""

import contextlib
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from fill_cases import FillCase
from fill_peers import labels_of, sparse
from sam2adapt.filling import filler, learner, stack_filler
from sam2adapt.filling.combiner import Combiner
from sam2adapt.filling.drawings import drawings_from_labels
from sam2adapt.filling.grey import pixel_features
from sam2adapt.filling.opinions.evidence import OPINIONS
from sam2adapt.filling.trees import Trees
from sam2adapt.network.weights import load_base
from sam2adapt.segmenting.slices import normalise
from torch.nn import functional as F

_COMPONENTS = 12  # of the base's features, by principal components
_LARGER = 2  # the base sees so many pixels a side for one
_NEVER = (2.0, 3.0)  # Dice of hidden slices that nobody has

Method = Callable[[FillCase, list[int]], np.ndarray]
Change = Callable[[], contextlib.AbstractContextManager]


def single(opinion: int) -> Method:
    """Only one opinion of the evidence, by its place among ``MAPS``."""

    def fill(case: FillCase, drawn: list[int]) -> np.ndarray:
        return _judged_by(case, drawn, lambda images: lambda own, slice_: own.maps[opinion])

    return fill


def prompted(case: FillCase, drawn: list[int]) -> np.ndarray:
    """The base's own decoder, prompted with the mask and the box of the drawing that was carried along the flow."""
    return _judged_by(case, drawn, _PromptedBase)


def changed(*changes: Change) -> Method:
    """All parts, with these changes."""

    def fill(case: FillCase, drawn: list[int]) -> np.ndarray:
        with contextlib.ExitStack() as stack:
            for change in changes:
                stack.enter_context(change())
            return _filled(case, drawn)

    return fill


def without_start() -> contextlib.AbstractContextManager:
    """What the learner says is the answer."""
    return mock.patch.object(filler, "load_combiner", lambda path: None)


def untrained_start() -> contextlib.AbstractContextManager:
    """The combiner as it is before it is trained: the opinions in fixed weights."""

    def load(path) -> Combiner:
        torch.manual_seed(0)
        return Combiner().eval()

    return mock.patch.object(filler, "load_combiner", load)


def without_adaptation() -> contextlib.AbstractContextManager:
    """The weighing is not fitted to the hidden drawn slices."""
    return mock.patch.object(stack_filler, "adapt", lambda *given: stack_filler.Adaptation())


def heard_once() -> contextlib.AbstractContextManager:
    """What is learnt is heard by the combiner alone."""
    return mock.patch.object(stack_filler, "_TRUSTED", _NEVER)


def half_as_threshold() -> contextlib.AbstractContextManager:
    """A structure is filled where it is more likely than not, however much of it is left out so."""
    return mock.patch.object(filler, "thresholds", lambda sums: np.full(len(sums), 0.5))


def opinions_without_limits() -> contextlib.AbstractContextManager:
    """The learner hears opinions as sure as they are, surer than all that it was trained on."""

    def limits(inputs: np.ndarray, targets: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.array([[-np.inf], [np.inf]], np.float32).repeat(targets.shape[1] * OPINIONS, 1)

    return mock.patch.object(learner, "_limits", limits)


def without_image() -> contextlib.AbstractContextManager:
    """The learner sees the opinions alone; flow and growth still follow the grey levels."""
    return mock.patch.multiple(stack_filler, pixel_features=_nothing, features_across=_nothing)


def seeing_base() -> contextlib.AbstractContextManager:
    """The learner sees the base's features in the place of grey levels."""
    return mock.patch.multiple(stack_filler, pixel_features=_BaseFeatures(), features_across=_nothing)


def seeing_both() -> contextlib.AbstractContextManager:
    """The learner sees the base's features beside all that it sees in the product."""
    return mock.patch.object(stack_filler, "pixel_features", _Both())


def networks_alone() -> contextlib.AbstractContextManager:
    """No trees learn."""
    return mock.patch.multiple(Trees, fit=lambda *given: None, predict=lambda *given: None)


def trees_alone() -> contextlib.AbstractContextManager:
    """Trees answer in all pixels, networks only for a structure of which no tree has learnt anything."""
    both, limit = learner.PixelLearner.predict, learner._LOGIT_LIMIT

    def predict(self, inputs: np.ndarray, fold: int | None = None) -> np.ndarray:
        logits = both(self, inputs, fold)
        pixels = inputs.reshape(len(inputs), -1).T
        for index, own in enumerate(logits):
            said = self._trees.predict(pixels, index, fold)
            if said is not None:
                own[...] = np.clip(said, -limit, limit).reshape(own.shape)
        return logits

    return mock.patch.object(learner.PixelLearner, "predict", predict)


def _nothing(images: np.ndarray, *given) -> np.ndarray:
    return np.zeros((0, *images.shape[1:]), np.float32)


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

    nothing_learnt = {"learn": learn, "prepare": lambda self, slices, tell: None, "logits": logits}
    with mock.patch.multiple(stack_filler.StackFiller, **nothing_learnt), half_as_threshold():
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
    "learner: no image": changed(without_start, without_image),
    "learner: grey": changed(without_start),
    "learner: nano": changed(without_start, seeing_base),
    "learner: both": changed(without_start, seeing_both),
    "learner: networks": changed(without_start, networks_alone),
    "learner: trees": changed(without_start, trees_alone),
    "ours: no image": changed(without_image),
    "ours: nano": changed(seeing_base),
    "ours: both": changed(seeing_both),
    "ours: networks": changed(networks_alone),
    "ours: trees": changed(trees_alone),
    "ours: untrained start": changed(untrained_start),
    "ours: heard once": changed(heard_once),
    "ours: threshold of a half": changed(half_as_threshold),
    "ours: opinions without limits": changed(opinions_without_limits),
    "no adaptation": changed(without_adaptation),
}
