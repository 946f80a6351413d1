"""Segment a volume: run batches of its slices through the network, and bring the logits back to the native grid.

Command line, server, evaluation, and validation during training all segment here.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..imaging import cleaning
from ..imaging.region import region_of
from ..imaging.terminology import Structure, choose
from ..imaging.volume import Volume, check_voxels
from ..machine.device import autocast, is_out_of_memory, release_memory
from ..machine.interruption import interruptible, look
from ..network.base import STRIDE
from ..shared.errors import DeviceError
from ..shared.labels.label_runs import count_labels
from ..shared.timing import timed
from .label_maps import label_maps
from .model import Model
from .prefetch import prefetch
from .slices import SliceStack, check_modality

logger = logging.getLogger(__name__)

SCALES = (1.0, 0.875, 1.125)  # of test-time augmentation; no flips, which would confuse left and right
_PIXELS_PER_BATCH = {"cpu": 8 * 256 * 256, "cuda": 64 * 256 * 256, "mps": 16 * 256 * 256}
_PROBABILITIES_PER_BATCH = 1 << 24  # on the native grid: 64 MiB
_WHAT = "The segmentation"  # that was cancelled


@dataclass
class Options:
    """Options of a segmentation.

    :param structures: names of the structures to segment; None: all.
    :param roi: voxel ranges (i0, i1, j0, j1, k0, k1), ends excluded; voxels outside get no label.
    :param tta: average the probabilities over the scales 0.875, 1, 1.125.
    :param uncertainty: also return the entropy of the probabilities of each voxel (0 to 1).
    :param any_modality: accept a modality that the model was not trained on.
    :param observe: called for each batch with the stack, its first slice and its probabilities (B, K, H, W).
    """

    structures: list[str] | None = None
    roi: tuple[int, int, int, int, int, int] | None = None
    tta: bool = False
    uncertainty: bool = False
    any_modality: bool = False
    observe: Callable[[SliceStack, int, Tensor], None] | None = None
    batch_size: int | None = None
    post_process: bool = True

    @property
    def wants_probabilities(self) -> bool:
        """Whether probabilities are needed; labels come from logits, in a fraction of the time and memory."""
        return self.tta or self.uncertainty or self.observe is not None

    def to_json(self) -> dict:
        """Options that change the labels, for reports."""
        return {
            "structures": self.structures, "roi": self.roi and list(self.roi), "tta": self.tta,
            "any_modality": self.any_modality, "post_process": self.post_process,
        }  # fmt: skip


@dataclass
class Segmentation:
    """Result of ``segment``: labels (1, K, J, I) uint8 on the grid of the input, and measurements.

    :ivar structures: the requested structures, in the order of the model; ``labels`` holds no others.
    :ivar device: where the last slices were computed: the CPU if the memory of the GPU was too small.
    :ivar seconds: "prepare" (checks, slices on the model's grid; with a GPU, only the time it waits for them),
        "network" (the forward pass alone) and "post-process" (labels on the native grid, cleaning).
    """

    labels: Volume
    structures: list[Structure]
    device: torch.device
    uncertainty: Volume | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    slices: int = 0

    @property
    def sizes(self) -> list[dict]:
        """``id``, ``name``, ``voxels`` and ``ml`` (to 1 mm³; None for pictures) of each requested structure."""
        counts = count_labels(self.labels.array[0])
        voxel_ml = self.labels.voxel_ml if self.labels.physical else None
        return [
            {"id": s.id, "name": s.name, "voxels": n, "ml": None if voxel_ml is None else round(n * voxel_ml, 3)}
            for s, n in ((s, int(counts[s.id])) for s in self.structures)
        ]


def segment(
    volume: Volume,
    model: Model,
    options: Options | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Segmentation:
    """Segment one volume. Afterwards, even after an error, the model is as before, on the same device.

    :param progress: called with (slices done, all slices), first with 0.
    :param cancelled: called between batches and within each; if it returns true, ``CancelledError`` is raised.
    :raises VolumeError, ModalityError, ClassesError, SettingsError, DeviceError: errors that a user can fix.
    """
    options, seconds = options or Options(), dict.fromkeys(("prepare", "network", "post-process"), 0.0)
    with timed(seconds, "prepare"):
        check_voxels(volume)
        if not options.any_modality:
            check_modality(volume, model.card["modality"], model.name)
        structures = choose(model.structures, options.structures, model.name)
        stack = SliceStack(volume, model.slices)
        region = region_of(volume, options.roi) if options.roi else (slice(None),) * 3
        labels = np.zeros(volume.array.shape[1:], np.uint8)
        entropy = np.zeros(labels.shape, np.float32) if options.uncertainty else None
    first, last = stack.slice_range(region) if options.roi else (0, len(stack))
    if progress:
        progress(0, last - first)
    with _borrowed(model), interruptible(cancelled, _WHAT):
        for stop in _fill_in(labels, entropy, stack, model, options, range(first, last), seconds):
            if progress:
                progress(stop - first, last - first)
            look()
        device = model.device
    with timed(seconds, "post-process"):
        for array in (labels, entropy):
            if array is not None and options.roi:
                _clip(array, region)
        _finish(labels, stack, model, structures, options.post_process)
    uncertainty = None if entropy is None else volume.with_array(entropy)
    return Segmentation(volume.with_array(labels), structures, device, uncertainty, seconds, last - first)


def _fill_in(
    labels: np.ndarray,
    entropy: np.ndarray | None,
    stack: SliceStack,
    model: Model,
    options: Options,
    slices: range,
    seconds: dict[str, float],
) -> Iterator[int]:
    """Write labels and entropy (K, J, I) of some slices of the stack, and yield the end of each batch.

    For the whole volume, only these arrays are in memory; logits and probabilities are freed batch by batch.
    """
    for start, batch, probabilities in _batches(stack, model, options, slices.start, slices.stop, seconds):
        stop = start + len(batch)
        with timed(seconds, "post-process"):
            stack.oriented(labels)[start:stop] = batch
            if entropy is not None:
                look()
                stack.oriented(entropy)[start:stop] = entropy_of(probabilities).cpu().numpy()
        if options.observe:
            options.observe(stack, start, probabilities)
        del probabilities
        yield stop


def _finish(labels: np.ndarray, stack: SliceStack, model: Model, structures: list[Structure], clean: bool) -> None:
    """Clean the labels (K, J, I) as the model's card says, and keep those of the requested structures."""
    if clean:
        # In the model's order of voxels: of two equal pieces, the same one stays, however the volume is stored.
        cleaning.clean(stack.oriented(labels), model.card["postprocessing"], stack.volume.voxel_ml)
    if len(structures) < len(model.structures):
        _keep(labels, [structure.id for structure in structures])


@contextmanager
def _borrowed(model: Model) -> Iterator[None]:
    """Put the network into evaluation mode; afterwards, even after an error, restore its mode and device."""
    training, device = model.network.training, model.device
    model.network.eval()
    try:
        yield
    finally:
        model.network.train(training)
        if model.device != device:
            _return(model, device)


def _return(model: Model, device: torch.device) -> None:
    """Move a network from the CPU back to the GPU.

    :raises DeviceError: another program has taken the memory; the network then stays on the CPU, intact.
    """
    try:
        model.network.to(device)
    except (RuntimeError, MemoryError) as error:
        model.network.to(model.device)
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            "The GPU's memory no longer holds the model.", "Close other programs that use the GPU, or choose the CPU."
        ) from error
    model.device = device


def _batches(
    stack: SliceStack, model: Model, options: Options, first: int, last: int, seconds: dict[str, float]
) -> Iterator[tuple[int, np.ndarray, Tensor | None]]:
    """Yield (first slice, labels (B, H, W), probabilities (B, K, H, W) or None) of each batch, on the native grid.

    If memory runs out, batches become smaller.
    """
    size = prepared = _batch_size(stack, model, options)
    starts = range(first, last, prepared)
    for begin, images in zip(starts, _inputs(stack, model, starts, last, seconds), strict=True):
        start, stop = begin, begin + len(images)
        while start < stop:
            part = images[start - stop :][:size]
            try:
                with torch.inference_mode():
                    labels, probabilities = _segment_slices(model, part, stack.native_size, options, seconds)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                size = _smaller(len(part), model, error)
                continue
            yield start, labels, probabilities
            del probabilities  # before the next batch is computed
            start += len(part)


def _inputs(stack: SliceStack, model: Model, starts: range, last: int, seconds: dict[str, float]) -> Iterator[Tensor]:
    """Yield the input (B, 3, h, w) of the network for each batch.

    While a GPU computes, the CPU prepares the next batch. If the CPU does both, this is not faster
    (``Testing/benchmarks/left_out.py``), because each part then has fewer cores.
    """

    def batch_at(start: int) -> Tensor:
        images = stack.batch(start, min(last, start + starts.step))
        return images.pin_memory() if model.device.type == "cuda" else images

    batches = iter((prefetch if _reads_ahead(model.device) else map)(batch_at, starts))
    for _ in starts:
        with timed(seconds, "prepare"):
            images = next(batches)
        yield images


def _reads_ahead(device: torch.device) -> bool:
    return device.type != "cpu"


def _batch_size(stack: SliceStack, model: Model, options: Options) -> int:
    # As the network sees them: it pads small slices to whole strides, and hundreds of tiny ones would fill the memory.
    rows, columns = (n + -n % STRIDE for n in stack.size)
    size = options.batch_size or max(1, _PIXELS_PER_BATCH[model.device.type] // (rows * columns))
    if options.wants_probabilities:
        values = len(model.label_values) * stack.native_size[0] * stack.native_size[1]
        size = min(size, max(1, _PROBABILITIES_PER_BATCH // values))
    return size


def _smaller(size: int, model: Model, error: Exception) -> int:
    """The batch size to try after memory ran out; after one slice, the network moves from the GPU to the CPU."""
    if size > 1:
        logger.warning("Memory ran out with %d slices at once; going on with %d.", size, size // 2)
        return size // 2
    if model.device.type == "cpu":
        raise DeviceError(
            "Memory ran out with a single slice.",
            "Close other programs, or choose a model with a smaller base network.",
            setting="model",
        ) from error
    logger.warning("The GPU's memory does not hold a single slice; going on with the CPU.")
    release_memory()
    model.device = torch.device("cpu")
    model.network.to(model.device)
    return 1


def _segment_slices(
    model: Model, images: Tensor, size: tuple[int, int], options: Options, seconds: dict[str, float]
) -> tuple[np.ndarray, Tensor | None]:
    """Labels (B, H, W) of images (B, 3, h, w) on the native grid of ``size``, and probabilities or None."""
    with timed(seconds, "network"), autocast(model.device):
        logits = _logits(model, images.to(model.device, non_blocking=True), SCALES if options.tta else (1.0,))
    values = torch.tensor(model.label_values, dtype=torch.uint8)
    with timed(seconds, "post-process"):
        if not options.wants_probabilities:
            return label_maps(logits[0], values, size).cpu().numpy(), None
        probabilities = sum(_probabilities(scaled, size) for scaled in logits) / len(logits)
        look()
        return values[probabilities.max(dim=1).indices.cpu()].numpy(), probabilities


def _probabilities(logits: Tensor, size: tuple[int, int]) -> Tensor:
    look()
    return _on_grid(logits, size).softmax(dim=1)


def _logits(model: Model, images: Tensor, scales: tuple[float, ...]) -> list[Tensor]:
    """Logits (B, K, h, w), float32, of images at each scale."""
    logits = []
    for scale in scales:
        size = tuple(max(1, round(n * scale)) for n in images.shape[-2:])
        scaled = images if scale == 1 else _on_grid(images, size, antialias=True)
        logits.append(model.network(scaled).float())
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)  # otherwise, the time would count where the logits are read
    return logits


def probabilities_of(model: Model, images: Tensor, scale: float = 1.0) -> Tensor:
    """Probabilities (B, K, h, w) of input (B, 3, h, w) that the network gets enlarged or reduced by a scale."""
    with torch.inference_mode(), autocast(model.device):
        (logits,) = _logits(model, images.to(model.device), (scale,))
        return _on_grid(logits, tuple(images.shape[-2:])).softmax(dim=1)


def _on_grid(images: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=antialias)


def entropy_of(probabilities: Tensor) -> Tensor:
    """Entropy over the classes (B, H, W), from 0 (certain) to 1 (all classes equally likely)."""
    classes = probabilities.shape[1]
    return (torch.special.entr(probabilities).sum(dim=1) / np.log(classes)).clamp_(max=1)


def _keep(labels: np.ndarray, values: list[int]) -> None:
    """Set all other labels to 0, in place."""
    kept = np.zeros(256, np.uint8)
    kept[values] = values
    for plane in labels:
        plane[...] = kept[plane]


def _clip(array: np.ndarray, region: tuple[slice, slice, slice]) -> None:
    """Set the voxels outside a region of (K, J, I) to 0, in place."""
    for axis, inside in enumerate(region):
        lines = np.moveaxis(array, axis, 0)
        lines[: inside.start] = 0
        lines[inside.stop :] = 0
