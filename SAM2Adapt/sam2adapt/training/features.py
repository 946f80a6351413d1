"""Quick adapt: train head and decoder on features of augmented slices that the encoder computes only once.

The encoder, with its adapters in evaluation mode, does not change; everything after it is trained (models.md 6).
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..machine.device import autocast
from ..machine.exchange import on_rank_zero, shard
from ..network.network import Prompts, SegmentationNetwork
from ..segmenting.slices import normalise
from ..shared.errors import SettingsError
from ..shared.files import output_error
from ..shared.paths import is_file
from ..shared.safety.private import open_private, private_folder
from ..shared.safety.stored_array import StoredArray
from .samples import AugmentedSlices, batches_of

COPIES = 4  # differently augmented copies of each slice
_ENCODER = ("base.image_encoder.", "base.no_mem_embed", "base.sam_mask_decoder.conv_s", "detail.", "refinement.stem.")


def is_encoder_side(name: str) -> bool:
    """Whether the features depend on a tensor of the network; quick adapt does not train it."""
    return name.startswith(_ENCODER)


def quick_fits(network: SegmentationNetwork, continued: bool) -> bool:
    """Whether quick adapt makes sense: everything that it does not train comes from a trained model or the base.

    :param network: in training form; ``continued``: whether it holds the tensors of a trained model.
    """
    added = (
        parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and is_encoder_side(name) and name not in network.base_names
    )
    return continued or not any(parameter.any() for parameter in added)


def check_quick(network: SegmentationNetwork, continued: bool, method: str) -> None:
    """Refuse quick adapt if adapters in the encoder would stay untrained.

    :raises SettingsError: some would.
    """
    if not quick_fits(network, continued):
        raise SettingsError(
            f"Quick adapt trains head and decoder only, and method '{method}' has untrained parts in the encoder.",
            "Start from a trained model, choose the method head, or lora with placement=decoder, or train without quick"
            " adapt.",
            setting=("init", "method", "settings", "quick"),
        )


class CachedFeatures:
    """The features of the first ``COPIES`` epochs of a source, in float16 files in a folder.

    File names contain a SHA-256 of everything that the features depend on, so that a resumed run can use them again.

    :param keep_on: called after each batch with the share that is done; it may raise an error to end the work.
    :raises OutputError: the disk is full.
    """

    def __init__(
        self,
        source: AugmentedSlices,
        network: SegmentationNetwork,
        folder: Path,
        device: torch.device,
        keep_on: Callable[[float], object],
    ):
        self.settings = source.settings
        key = _key(source, network)
        private_folder(folder)
        parts = ("embedding", "s0", "s1", *(() if network.refinement is None else ("fine",)), "target")
        files = [[folder / f"{key[:32]}-{copy}-{part}.npy" for part in parts] for copy in range(COPIES)]

        def write_missing() -> None:
            for copy, paths in enumerate(files):
                if not all(is_file(path) for path in paths):
                    _write(paths, source, copy, network, device, lambda share, n=copy: keep_on((n + share) / COPIES))

        on_rank_zero(write_missing)
        self.blocks = [[StoredArray(path) for path in paths] for paths in files]

    def __len__(self) -> int:
        """Samples of an epoch."""
        return len(self.blocks[0][0])

    def batches(self, epoch: int) -> Iterator[tuple[Sequence[Tensor], Tensor]]:
        """Yield features (B, C, h, w) float32, as from ``encode``, and targets (B, H, W) class indices."""
        block = self.blocks[(epoch - 1) % COPIES]
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self))
        for places in batches_of(len(order), self.settings.batch_size):
            # Sorted, because files are read faster in order; within a batch, the order does not matter.
            chosen = shard(np.sort(order[places.start : places.stop]))
            *features, target = (torch.from_numpy(array[chosen]) for array in block)
            yield [feature.float() for feature in features], target

    def forward(
        self, network: SegmentationNetwork, inputs: Sequence[Tensor], prompts: Sequence[Prompts] | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute logits, and the input of auxiliary losses of the decoder, from the features of a batch."""
        return network.segment_features(inputs, tuple(self.blocks[0][-1].shape[-2:]), prompts)


def _write(paths: list[Path], source: AugmentedSlices, copy: int, network, device, keep_on) -> None:
    """Write one copy of every slice; files get their names only when they are complete."""
    samples = source.samples(copy + 1)
    size = source.settings.batch_size
    places = range(len(samples))
    batches = samples.batches([places[start : start + size] for start in places[::size]])
    parts = [path.with_suffix(".part") for path in paths]
    training = network.training
    network.eval()
    try:
        # Not through a memory map, which kills the process if the disk is full.
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(open_private(part)) for part in parts]
            for number, ((images,), targets) in enumerate(batches):
                for file, array in zip(files, _arrays(images, targets, network, device), strict=True):
                    if number == 0:
                        form = {"descr": array.dtype.str, "fortran_order": False}
                        np.lib.format.write_array_header_1_0(file, form | {"shape": (len(samples), *array.shape[1:])})
                    file.write(array.tobytes())
                keep_on(min(1.0, (number + 1) * size / len(samples)))
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    except OSError as error:
        raise output_error(paths[0], error) from error
    finally:
        network.train(training)
        for part in parts:
            part.unlink(missing_ok=True)


@torch.no_grad()
def _arrays(images: Tensor, targets: Tensor, network: SegmentationNetwork, device: torch.device) -> list[np.ndarray]:
    with autocast(device):
        features, _ = network.encode(normalise(images.to(device)))
    return [feature.half().cpu().numpy() for feature in features] + [targets.numpy()]


def _key(source: AugmentedSlices, network: SegmentationNetwork) -> str:
    digest = hashlib.sha256()
    for case in source.cases:
        digest.update(repr((case.grey.shape, case.annotated, case.foreground, case.former)).encode())
        digest.update(b"" if case.weights is None else case.weights.tobytes())
        digest.update(np.ascontiguousarray(case.grey))
        digest.update(np.ascontiguousarray(case.target))
    settings = source.settings
    augmented = (source.crop, source.context, settings.rotation, settings.scale, settings.flips, settings.seed)
    digest.update(repr(augmented).encode())
    for name, tensor in network.state_dict().items():
        if is_encoder_side(name):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
