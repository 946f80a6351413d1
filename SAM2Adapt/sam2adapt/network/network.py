"""The network that segments: SAM2's image path, PEG, class head, and the adapters of one method."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ModelFileError, SettingsError
from .base import STRIDE, ImagePath, pad_to_stride
from .head import ClassHead
from .positional import MODES, DecoderPEG, TrunkPEG


class DetailMaps(NamedTuple):
    """Additions to the features of ``ImagePath.features``, of their shapes, and edge logits (B, 1, H/4, W/4)."""

    embedding: Tensor
    s0: Tensor
    s1: Tensor
    edge: Tensor | None = None


class SegmentationNetwork(nn.Module):
    """Prompt-free K-class segmentation of images of any size and aspect ratio.

    :param base: image path with its weights; it is taken over, not copied.
    :param num_classes: K, background included.
    :param peg: position encoding generator: ``add`` (ours), ``replace`` (paper) or ``none``.
    :param train_upscaling: also train the decoder's upscaling and high-resolution convolutions (for thin structures).

    Everything of the base is frozen; head and PEG are trainable. Adapters are put in by ``adapters.apply``.
    """

    def __init__(self, base: ImagePath, num_classes: int, peg: str = "add", train_upscaling: bool = False):
        super().__init__()
        if peg not in MODES:
            raise SettingsError(f"There is no PEG mode '{peg}'.", f"Choose one of {', '.join(MODES)}.")
        self.base = base.requires_grad_(False)
        self.base_names = frozenset(f"base.{name}" for name in base.state_dict())
        self.head = ClassHead(base.sam_mask_decoder, num_classes)
        self.decoder_peg = None
        self.detail: nn.Module | None = None  # of the padded images: additions to the features, as ``DetailMaps``
        if peg != "none":
            trunk = base.image_encoder.trunk
            trunk.peg = TrunkPEG(base.config.embed_dim, peg)
            trunk.use_position_embedding = peg == "add"
            self.decoder_peg = DecoderPEG(base.config.decoder_dim, peg)
        if train_upscaling:
            decoder = base.sam_mask_decoder
            for module in (decoder.output_upscaling, decoder.conv_s0, decoder.conv_s1):
                module.requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        """Segment images (B, 3, H, W), normalised as SAM2 wants them; returns logits (B, K, H, W)."""
        return self.forward_with_extras(images)[0]

    def forward_with_extras(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Segment, and give what auxiliary losses need beside the logits: ``edge`` (B, 1, H, W), where there is one."""
        padded = pad_to_stride(images)
        features = self.base.features(padded)
        extras = {}
        if self.detail is not None:
            details = self.detail(padded)
            features = [a + b for a, b in zip(features, (details.embedding, details.s0, details.s1), strict=True)]
            if details.edge is not None:
                extras["edge"] = _at_size(details.edge, padded, images)
        return _at_size(self.decode(*features), padded, images), extras

    def decode(self, embedding: Tensor, s0: Tensor, s1: Tensor) -> Tensor:
        """Decode the features of ``ImagePath.features`` to logits (B, K, H/4, W/4)."""
        prompts = self.base.sam_prompt_encoder
        positions = prompts.pe_layer(tuple(embedding.shape[-2:])).unsqueeze(0)
        if self.decoder_peg is not None:
            positions = self.decoder_peg(embedding, positions)
        source = embedding + prompts.no_mask_embed.weight.view(1, -1, 1, 1)
        return self.head(self.base.sam_mask_decoder, source, positions, (s0, s1))

    def trained_state(self) -> dict[str, Tensor]:
        """What a bundle holds: every tensor that the base lacks, and those of the base that are trained."""
        trainable = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {
            name: tensor.detach()
            for name, tensor in self.state_dict().items()
            if name in trainable or name not in self.base_names
        }

    def load_trained_state(self, tensors: dict[str, Tensor]) -> None:
        """Load what ``trained_state`` gave; names and shapes must agree exactly."""
        own = self.trained_state()
        wrong = sorted(own.keys() ^ tensors.keys()) or [n for n in own if own[n].shape != tensors[n].shape]
        if wrong:
            raise ModelFileError(
                f"The model's tensors do not fit its settings ({len(wrong)} of them, for example '{wrong[0]}').",
                "Get the model file again from where it came from.",
            )
        self.load_state_dict(tensors, strict=False)


def _at_size(logits: Tensor, padded: Tensor, images: Tensor) -> Tensor:
    logits = F.interpolate(logits.float(), size=padded.shape[-2:], mode="bilinear", align_corners=False)
    return logits[..., : images.shape[-2], : images.shape[-1]]


def parameter_counts(network: SegmentationNetwork) -> dict[str, int]:
    """Numbers of parameters: ``total`` of the image path with all additions, and those ``trained``."""
    return {
        "total": sum(p.numel() for p in network.parameters()),
        "trained": sum(p.numel() for p in network.parameters() if p.requires_grad),
    }


__all__ = ["STRIDE", "DetailMaps", "SegmentationNetwork", "parameter_counts"]
