"""SAM2LoRA (arXiv 2510.10288): low-rank adaptation of SAM2's image encoder and mask decoder.

y = W x + b + (alpha / r) B A dropout(x), with B = 0 at the start, on the fused qkv projection of every block of the
trunk and on q, k, v and out of every attention of the mask decoder; alpha = 2 r (the paper's). Ours: trained without
any prompt by default (the authors: with points), r = 16 and dropout 0.05 (the authors' code: 64 and 0.1),
Kaiming-uniform A, further targets, rank-stabilised scaling, the IoU term off by default and its head trained for K
classes. Every image is decoded from its own features, which the authors' training code does not do.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ..network.dropout import ImageDropout
from ..network.head import QualityHead
from ..network.network import Prompts, SegmentationNetwork
from ..network.prompts import PromptTokens
from ..shared.errors import SettingsError
from .method import Method

TARGETS = {"encoder": ("qkv", "proj", "mlp"), "decoder": ("attn", "mlp")}
PLACEMENTS = {"both": ("encoder", "decoder"), "encoder": ("encoder",), "decoder": ("decoder",)}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


class LoRALinear(nn.Linear):
    """A linear layer with a low-rank addition; weight and bias are those of the layer that it replaces.

    :param linear: the frozen layer.
    :param rank: r; ``scaling``: factor of the addition; ``dropout``: on the addition's input.
    """

    def __init__(self, linear: nn.Linear, rank: int, scaling: float, dropout: float):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_A = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.lora_B = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling, self.dropout = scaling, ImageDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        low = F.linear(F.linear(self.dropout(x), self.lora_A), self.lora_B)
        return F.linear(x, self.weight, self.bias) + self.scaling * low

    def merge(self) -> nn.Linear:
        """The plain layer of weight W + scaling B A (computed in float64)."""
        addition = self.scaling * (self.lora_B.detach().double() @ self.lora_A.detach().double())
        merged = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        merged.weight = nn.Parameter((self.weight.detach().double() + addition).to(self.weight.dtype), False)
        merged.bias = self.bias
        return merged


@dataclass(frozen=True)
class SAM2LoRA(Method):
    """Low-rank adapters in encoder and decoder, merged into the base weights for prediction.

    :param rank: r of every adapter.
    :param alpha: scaling numerator; None: 2 r.
    :param dropout: on the adapters' inputs in training.
    :param encoder: targets in each block of the trunk: ``qkv``, ``proj`` (of the attention), ``mlp``.
    :param decoder: targets in the mask decoder's transformer: ``attn``, ``mlp``.
    :param placement: ``both``, ``encoder`` or ``decoder``.
    :param rslora: divide alpha by the square root of r instead of r (arXiv 2312.03732).
    :param quality: weight of |q - IoU|, q the IoU that SAM2's quality head expects; 0: no such head; 0.1: the paper's.
    :param prompts: share of the training samples with points or a box, for interactive refinement; 0: the model is
        trained without prompts and takes none; 0.5: that of models.md.
    """

    name = "lora"
    summary = "low-rank adapters, merged into the base for prediction"
    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.05
    encoder: tuple[str, ...] = ("qkv",)
    decoder: tuple[str, ...] = ("attn",)
    placement: str = "both"
    rslora: bool = False
    quality: float = 0.0
    prompts: float = 0.0

    def __post_init__(self):
        for part, known in TARGETS.items():
            # JSON gives a list, the command line a single name; both become a tuple.
            given = getattr(self, part)
            object.__setattr__(self, part, (given,) if isinstance(given, str) else tuple(given))
            unknown = set(getattr(self, part)) - set(known)
            if unknown:
                raise SettingsError(
                    f"There is no LoRA target '{unknown.pop()}' in the {part}.", f"Choose from {', '.join(known)}."
                )
        if self.placement not in PLACEMENTS:
            raise SettingsError(
                f"There is no LoRA placement '{self.placement}'.", f"Choose one of {', '.join(PLACEMENTS)}."
            )
        if self.rank < 1 or not 0 <= self.dropout < 1:
            raise SettingsError(
                f"A LoRA of rank {self.rank} and dropout {self.dropout} is not possible.",
                "Give a rank of at least 1 and a dropout from 0 to below 1.",
            )

        if self.quality < 0 or not 0 <= self.prompts <= 1:
            raise SettingsError(
                f"A quality weight of {self.quality} and a share of {self.prompts} with prompts are not possible.",
                "Give a weight of at least 0 and a share from 0 to 1.",
            )

    @property
    def scaling(self) -> float:
        """Factor of B A x."""
        alpha = 2 * self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def settings(self) -> dict:
        """All settings, with lists instead of tuples, for JSON."""
        return super().settings() | {"encoder": list(self.encoder), "decoder": list(self.decoder)}

    def loss_weights(self) -> dict[str, float]:
        """The paper's composite loss: (binary) cross entropy, soft Dice and focal Tversky, equally weighted."""
        return {"ce": 1.0, "dice": 1.0, "focal_tversky": 1.0}

    def draw_prompts(self, targets: Tensor) -> list[Prompts] | None:
        """Points or a box for a share of the images."""
        if not self.prompts:
            return None
        from .prompt_drawing import draw_prompts

        return draw_prompts(targets, self.prompts)

    def auxiliary_loss(self, extras: dict[str, Tensor], targets: Tensor, fraction: float) -> Tensor | float:
        """Weighted distance between the expected and the reached IoU."""
        if not self.quality:
            return 0.0
        from .auxiliary_losses import quality_loss  # MONAI takes two seconds to import, and prediction never needs it

        return self.quality * quality_loss(extras["quality"], extras["logits"], targets)

    def apply(self, network: SegmentationNetwork) -> None:
        """Replace every target by a ``LoRALinear``; the parameters of the base keep their names.

        With ``quality`` or ``prompts``, also add the quality head or the module that turns prompts into tokens.
        """
        for parent, name in list(self._targets(network)):
            linear = getattr(parent, name)
            if isinstance(linear, LoRALinear):
                raise SettingsError(f"Layer '{name}' would get two LoRAs.", "Choose targets that do not overlap.")
            setattr(parent, name, LoRALinear(linear, self.rank, self.scaling, self.dropout))
        decoder, classes = network.base.sam_mask_decoder, network.head.num_classes
        if self.quality:
            network.head.quality = QualityHead(decoder, classes)
        if self.prompts:
            network.prompts = PromptTokens(classes, decoder.transformer_dim)

    def export(self, network: SegmentationNetwork) -> None:
        """Merge every adapter into the weight of its layer, and drop the quality head, which only the training uses."""
        network.head.quality = None
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, LoRALinear):
                    setattr(parent, name, child.merge())

    def _targets(self, network: SegmentationNetwork) -> Iterator[tuple[nn.Module, str]]:
        parts = PLACEMENTS[self.placement]
        if "encoder" in parts:
            for block in network.base.image_encoder.trunk.blocks:
                for name in ("qkv", "proj"):
                    if name in self.encoder:
                        yield block.attn, name
                if "mlp" in self.encoder:
                    yield from ((block.mlp.layers, name) for name in ("0", "1"))
        if "decoder" in parts:
            yield from self._decoder_targets(network.base.sam_mask_decoder.transformer)

    def _decoder_targets(self, transformer: nn.Module) -> Iterator[tuple[nn.Module, str]]:
        if "attn" in self.decoder:
            attentions = [transformer.final_attn_token_to_image]
            for layer in transformer.layers:
                attentions += [layer.self_attn, layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
            for attention in attentions:
                if not all(hasattr(attention, name) for name in _PROJECTIONS):
                    raise SettingsError(
                        "LoRA does not work in attentions that a low-rank tensor attention has replaced.",
                        "Set the LoRA's placement to encoder.",
                    )
                yield from ((attention, name) for name in _PROJECTIONS)
        if "mlp" in self.decoder:
            for layer in transformer.layers:
                yield from ((layer.mlp.layers, name) for name in ("0", "1"))
