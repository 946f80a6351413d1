"""What a model says about the slices of one volume; computed when a slice is first asked for, and kept."""

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from ..imaging.terminology import name_key
from ..imaging.volume import Volume
from ..machine.device import autocast
from ..network.prompts import Prompts
from ..segmenting.model import Model
from ..segmenting.slices import Normalization, SliceSettings, SliceStack
from .gestures import Gesture
from .neighbourhood import Slice, margin_of_mask

_KEPT = 1 << 28  # bytes of features and logits


class Evidence:
    """The logits of a model for slices of a volume.

    :param model: None: only grey levels and the segment itself are known.
    :ivar takes_prompts: whether the model was trained with points and boxes.
    """

    def __init__(self, stack: SliceStack, model: Model | None):
        self.stack, self._model = stack, model
        self.takes_prompts = model is not None and _plain(model).prompts is not None
        self._kept: OrderedDict[int, tuple[list[Tensor], Tensor]] = OrderedDict()
        self._bytes = 0

    def class_of(self, structure: str) -> int | None:
        """The model's class of a structure; None: it does not know it."""
        names = [] if self._model is None else [name_key(one.name) for one in self._model.structures]
        return names.index(name_key(structure)) + 1 if name_key(structure) in names else None

    def prepare(self, number: int) -> None:
        """Compute what is kept of a slice."""
        if self._model is not None:
            self._of_slice(number)

    def slice(self, number: int, number_of_class: int | None, mask: np.ndarray, gestures: list[Gesture]) -> Slice:
        """A slice as a click sees it.

        :param number_of_class: None: the model does not know the structure.
        :param mask: (H, W) bool, the structure as it is.
        :param gestures: all those in this slice for this structure, for models that take prompts.
        """
        grey = self._grey(number)
        if number_of_class is None:
            return Slice(grey, margin_of_mask(mask), mask, False)
        return Slice(grey, self._margin(number, number_of_class, gestures), mask)

    def _grey(self, number: int) -> np.ndarray:
        low, high = self.stack.limits
        return np.clip((np.array(self.stack.array[:, number], np.float32) - low) / ((high - low) or 1), 0, 1)

    def _margin(self, number: int, number_of_class: int, gestures: list[Gesture]) -> np.ndarray:
        features, logits = self._of_slice(number)
        if self.takes_prompts and gestures:
            with torch.inference_mode(), autocast(self._model.device):
                prompts = [self._prompts(gestures, number_of_class)]
                logits = _plain(self._model).segment_features(features, self.stack.size, prompts)[0].float().cpu()
        logits = _on_grid(logits, self.stack.native_size)[0]
        others = torch.cat([logits[:number_of_class], logits[number_of_class + 1 :]])
        return (logits[number_of_class] - others.amax(0)).numpy()

    def _of_slice(self, number: int) -> tuple[list[Tensor], Tensor]:
        """Features (none unless the model takes prompts) and logits (1, K, h, w), on the CPU."""
        if number not in self._kept:
            self._keep(number, self._computed(number))
        self._kept.move_to_end(number)
        return self._kept[number]

    def _computed(self, number: int) -> tuple[list[Tensor], Tensor]:
        model = self._model
        images = self.stack.batch(number, number + 1).to(model.device)
        with torch.inference_mode(), autocast(model.device):
            if not self.takes_prompts:
                return [], model.network(images).float().cpu()
            features, _ = _plain(model).encode(images)
            return list(features), _plain(model).segment_features(features, self.stack.size)[0].float().cpu()

    def _keep(self, number: int, entry: tuple[list[Tensor], Tensor]) -> None:
        self._kept[number] = entry
        self._bytes += _size(entry)
        while self._bytes > _KEPT and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])

    def _prompts(self, gestures: list[Gesture], number_of_class: int) -> Prompts:
        """Gestures as prompts, on the model's grid; a scribble is a point, its middle one."""
        scale = np.divide(self.stack.size, self.stack.native_size)
        points, boxes = [], []
        for gesture in gestures:
            places = (gesture.pixels + 0.5) * scale - 0.5
            if gesture.is_box and gesture.positive:
                boxes.append((*places.min(0)[::-1].tolist(), *places.max(0)[::-1].tolist(), number_of_class))
            elif not gesture.is_box:
                row, column = places[len(places) // 2].tolist()
                points.append((column, row, number_of_class if gesture.positive else 0))
        return Prompts(tuple(points), tuple(boxes))


def _plain(model: Model):
    return getattr(model.network, "plain", model.network)


def _size(entry: tuple[list[Tensor], Tensor]) -> int:
    return sum(tensor.nbytes for tensor in (*entry[0], entry[1]))


def _on_grid(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if logits.shape[-2:] == size:
        return logits
    return torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def stack_of(volume: Volume, model: Model | None) -> SliceStack:
    """The slices of a volume as a model cuts them; without one, as it was acquired."""
    without = SliceSettings(Normalization("percentile", 0.5, 99.5), size=max(volume.size))
    return SliceStack(volume, without if model is None else model.slices)
