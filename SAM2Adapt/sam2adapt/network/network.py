"""The segmentation network: SAM2's image path, PEG, class head, and the adapters of a method."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..shared.errors import ModelFileError, SettingsError
from ..shared.presets import PEG_ADD, PEG_MODES, PEG_NONE
from . import dropout
from .base import STRIDE, ImagePath, pad_to_stride
from .head import ClassHead
from .positional import DecoderPEG, TrunkPEG
from .prompts import Prompts, PromptTokens
from .side_by_side import side_by_side


class DetailMaps(NamedTuple):
    """Additions to the features of ``ImagePath.features``, of their shapes, and edge logits (B, 1, H/4, W/4)."""

    embedding: Tensor
    s0: Tensor
    s1: Tensor
    edge: Tensor | None = None


class Decoded(NamedTuple):
    """Output of the decoder.

    :param logits: (B, K, H/4, W/4).
    :param quality: expected IoU (B, K), if the network has a quality head.
    :param added: what the refinement adds to the logits, (B, K, H/2, W/2) or (B, K, H, W), if it has one.
    """

    logits: Tensor
    quality: Tensor | None = None
    added: Tensor | None = None


class SegmentationNetwork(nn.Module):
    """Prompt-free K-class segmentation of images of any size and aspect ratio.

    :param base: image path with its weights; it becomes part of the network and is not copied.
    :param num_classes: K, background included.
    :param peg: position encoding generator: ``add`` (ours), ``replace`` (paper) or ``none``.
    :param train_upscaling: also train the decoder's upscaling and high-resolution convolutions (for thin structures).

    The base is frozen; head and PEG are trainable. A method's ``apply`` puts adapters in.
    """

    def __init__(self, base: ImagePath, num_classes: int, peg: str = PEG_ADD, train_upscaling: bool = False):
        super().__init__()
        if peg not in PEG_MODES:
            raise SettingsError(f"There is no PEG mode '{peg}'.", f"Choose one of {', '.join(PEG_MODES)}.")
        self.base = base.requires_grad_(False)
        self.base_names = frozenset(f"base.{name}" for name in base.state_dict())
        self.head = ClassHead(base.sam_mask_decoder, num_classes)
        self.decoder_peg = None
        self.detail: nn.Module | None = None  # from padded images to additions to the features (``DetailMaps``)
        # From pixel features at stride 4, and features that its ``stem`` computes from the images.
        self.refinement: nn.Module | None = None
        self.prompts: PromptTokens | None = None  # only in networks that are trained with prompts
        if peg != PEG_NONE:
            trunk = base.image_encoder.trunk
            trunk.peg = TrunkPEG(base.config.embed_dim, peg)
            trunk.use_position_embedding = peg == PEG_ADD
            self.decoder_peg = DecoderPEG(base.config.decoder_dim, peg)
        if train_upscaling:
            decoder = base.sam_mask_decoder
            for module in (decoder.output_upscaling, decoder.conv_s0, decoder.conv_s1):
                module.requires_grad_(True)

    def forward(self, images: Tensor, prompts: Sequence[Prompts] | None = None) -> Tensor:
        """Segment images (B, 3, H, W), normalised as for SAM2; returns logits (B, K, H, W).

        :param prompts: one for each image, perhaps empty; None: no image has prompts.
        :raises SettingsError: the network was not trained with prompts, or lacks a class of a prompt.
        """
        return self.forward_with_extras(images, prompts)[0]

    def forward_with_extras(
        self, images: Tensor, prompts: Sequence[Prompts] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Segment, and also return what auxiliary losses need.

        :return: logits (B, K, H, W), and a dictionary: ``edge`` logits (B, 1, H, W) of networks with a boundary head;
            ``quality``, the expected IoU (B, K), and the ``logits`` it refers to, of networks with a quality head.
        """
        features, extras = self.encode(images)
        logits, more = self.segment_features(features, tuple(images.shape[-2:]), prompts)
        return logits, extras | more

    def encode(self, images: Tensor) -> tuple[Sequence[Tensor], dict[str, Tensor]]:
        """Compute the features of images (B, 3, H, W) for ``segment_features``.

        :return: embedding, s0 and s1, see ``ImagePath.features``, and with a refinement the output of its stem; and
            ``edge`` logits, if the network has them.
        """
        padded = pad_to_stride(images)
        if padded.device.type == "cpu":
            padded = padded.contiguous(memory_format=torch.channels_last)  # for which convolutions are fast
        run = side_by_side if self._trains_side_by_side(padded) else _in_turn
        features, beside = run([lambda: self.base.features(padded), lambda: self._beside(padded)])
        fine = [] if self.refinement is None else [beside.pop()]
        extras = {}
        if beside:
            features = [a + b for a, b in zip(features, beside[:3], strict=True)]
        if len(beside) > 3:
            extras["edge"] = at_size(beside[3], tuple(images.shape[-2:]))
        return [*features, *fine], extras

    def _beside(self, padded: Tensor) -> list[Tensor]:
        """What networks beside the encoder compute of the images: ``DetailMaps``, and the refinement's stem."""
        maps = [] if self.detail is None else [x for x in self.detail(padded) if x is not None]
        return maps if self.refinement is None else [*maps, self.refinement.stem(padded)]

    def _trains_side_by_side(self, padded: Tensor) -> bool:
        if self.detail is None and self.refinement is None:
            return False
        return self.training and torch.is_grad_enabled() and padded.device.type == "cpu" and torch.get_num_threads() > 1

    def segment_features(
        self, features: Sequence[Tensor], size: tuple[int, int], prompts: Sequence[Prompts] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Segment images of ``size`` (H, W) from the features that ``encode`` returned.

        :return: logits (B, K, H, W); with a quality head also ``quality`` and the ``logits`` it refers to.
        """
        if prompts and any(prompts):
            decoded = self._decode_prompted(features, prompts, _padded(size))
        else:
            decoded = self.decode(*features)
        logits = at_size(decoded.logits, size)
        if decoded.added is not None:
            logits = logits + at_size(decoded.added, size)
        return logits, {} if decoded.quality is None else {"quality": decoded.quality, "logits": logits}

    def decode(
        self, embedding: Tensor, s0: Tensor, s1: Tensor, fine: Tensor | None = None, *, prompts: Tensor | None = None
    ) -> Decoded:
        """Decode the features that ``encode`` returned, with tokens (B, N, D) of prompts."""
        encoder = self.base.sam_prompt_encoder
        positions = encoder.pe_layer(tuple(embedding.shape[-2:])).unsqueeze(0)
        if self.decoder_peg is not None:
            positions = self.decoder_peg(embedding, positions)
        source = embedding + encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        kernels, pixels, quality = self.head(self.base.sam_mask_decoder, source, positions, (s0, s1), prompts)
        added = None if fine is None else class_maps(kernels, self.refinement(pixels, fine))
        return Decoded(class_maps(kernels, pixels), quality, added)

    def _decode_prompted(
        self, features: Sequence[Tensor], prompts: Sequence[Prompts], size: tuple[int, int]
    ) -> Decoded:
        """Decode images with and without prompts separately, because SAM2's padding tokens have an effect, too."""
        if self.prompts is None:
            raise SettingsError(
                "This model was not trained with prompts.",
                "Train one with the method lora and its setting prompts=0.5.",
                setting=("method", "settings"),
            )
        prompted = [index for index, entry in enumerate(prompts) if entry]
        others = [index for index, entry in enumerate(prompts) if not entry]
        tokens = self.prompts(self.base.sam_prompt_encoder, [prompts[index] for index in prompted], size)
        with dropout.only(prompted):
            parts = [self.decode(*(feature[prompted] for feature in features), prompts=tokens)]
        if others:
            with dropout.only(others):
                parts.append(self.decode(*(feature[others] for feature in features)))
        places = torch.tensor(prompted + others).argsort()
        return Decoded(*(None if part[0] is None else torch.cat(part)[places] for part in zip(*parts, strict=True)))

    def trained_state(self) -> dict[str, Tensor]:
        """The tensors of a bundle: all that the base lacks, and those of the base that are trained."""
        trainable = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {
            name: tensor.detach()
            for name, tensor in self.state_dict().items()
            if name in trainable or name not in self.base_names
        }

    def load_trained_state(self, tensors: dict[str, Tensor]) -> None:
        """Load what ``trained_state`` returned.

        :raises ModelFileError: names or shapes differ.
        """
        self.check_trained_state(tensors)
        self.load_state_dict(tensors, strict=False)

    def check_trained_state(self, tensors: dict[str, Tensor]) -> None:
        """Make sure that tensors fit this network.

        :raises ModelFileError: names or shapes differ.
        """
        state = self.trained_state()
        wrong = sorted(state.keys() ^ tensors.keys()) or [n for n in state if state[n].shape != tensors[n].shape]
        if wrong:
            raise ModelFileError(
                f"The model's tensors do not fit its settings ({len(wrong)} of them, for example '{wrong[0]}').",
                "Get the model file again from its source.",
            )


def _in_turn(parts: Sequence[Callable[[], Sequence[Tensor]]]) -> list[list[Tensor]]:
    return [list(part()) for part in parts]


def _padded(size: tuple[int, int]) -> tuple[int, int]:
    return tuple(n + -n % STRIDE for n in size)


def class_maps(kernels: Tensor, pixels: Tensor) -> Tensor:
    """Products (B, K, h, w) of kernels (B, K, C) and pixel features (B, C, h, w)."""
    return torch.einsum("bkc,bchw->bkhw", kernels, pixels)


def at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge logits (B, K, h, w) of padded images and cut off the padding: (B, K, H, W)."""
    padded = _padded(size)
    if logits.requires_grad and logits.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):
            logits = logits.float()
            rows, columns = (_bilinear(n, m).to(logits) for n, m in zip(logits.shape[-2:], padded, strict=True))
            enlarged = rows @ logits @ columns.T
    else:
        # One channel at a time: for three channels, a single thread uses another kernel of PyTorch, which rounds
        # differently.
        single = logits.float().flatten(0, 1).unsqueeze(1)
        enlarged = F.interpolate(single, size=padded, mode="bilinear", align_corners=False)
        enlarged = enlarged.view(*logits.shape[:2], *padded)
    return enlarged[..., : size[0], : size[1]]


@functools.lru_cache(maxsize=8)
def _bilinear(small: int, large: int) -> Tensor:
    """The matrix (large, small) of bilinear interpolation along an axis; products with it are faster in training."""
    columns = torch.eye(small, dtype=torch.float32)[:, None]
    return F.interpolate(columns, size=large, mode="linear", align_corners=False)[:, 0].T.contiguous()


def parameter_counts(network: SegmentationNetwork) -> dict[str, int]:
    """Numbers of parameters: ``total`` of the image path with all additions, and those ``trained``."""
    return {
        "total": sum(p.numel() for p in network.parameters()),
        "trained": sum(p.numel() for p in network.parameters() if p.requires_grad),
    }


__all__ = ["STRIDE", "DetailMaps", "Prompts", "SegmentationNetwork", "parameter_counts"]
