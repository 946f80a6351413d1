"""BALR-SAM (arXiv 2509.24204): boundary-aware, low-rank adaptation, as we build it on SAM2.

The paper has three parts: a complementary detail enhancement network, low-rank adapters in the blocks of the encoder,
and low-rank tensor attention in the mask decoder. Ranks, widths, the places of the parts, the loss and the distillation
after the factorisation are ours (models.md 4). On Hiera-L, they have 1.8 % of its parameters, as in the paper.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ..network.network import SegmentationNetwork
from ..shared.errors import SettingsError
from .detail import DetailNetwork
from .distillation import distil_decoder
from .lora import SAM2LoRA
from .low_rank_attention import LowRankAttention, factorise, forget_teachers, teacher_of
from .method import KeepOn, Method, always


@dataclass(frozen=True)
class BALR(Method):
    """Detail enhancement network, low-rank adapters in every block, low-rank attention in the decoder.

    With low-rank attention, the untrained network only approximates the base; ``initialise`` brings it nearer.

    :param width: of the detail network; ``high_pass``: also feed it the image's high-pass.
    :param edge: weight of the boundary loss.
    :param rank: of the adapters, with alpha = 2 rank; ``encoder``: their targets; ``dropout``: on their inputs.
    :param attention: rank / depth of the decoder's attention heads; 0: leave the attentions as they are.
    :param distil: steps of label-free distillation before a training begins.
    """

    name = "balr"
    summary = "detail network, low-rank adapters and low-rank decoder attention, with a boundary loss"
    width: int = 48
    high_pass: bool = False
    edge: float = 0.5
    rank: int = 8
    dropout: float = 0.05
    encoder: tuple[str, ...] = ("qkv", "proj", "mlp")
    attention: float = 3 / 16
    distil: int = 300

    def __post_init__(self):
        if not 0 <= self.attention <= 1:
            raise SettingsError(
                f"Attention heads cannot keep {self.attention} of their depth.", "Give a share from 0 to 1."
            )
        object.__setattr__(self, "encoder", self._adapters.encoder)

    @cached_property
    def _adapters(self) -> SAM2LoRA:
        return SAM2LoRA(rank=self.rank, dropout=self.dropout, encoder=self.encoder, placement="encoder")

    @cached_property
    def _detail(self) -> DetailNetwork:
        return DetailNetwork(self.width, self.high_pass, self.edge)

    def settings(self) -> dict:
        """All settings, with lists instead of tuples, for JSON."""
        return super().settings() | {"encoder": list(self.encoder)}

    def apply(self, network: SegmentationNetwork) -> None:
        """Put all three parts into the network."""
        self._adapters.apply(network)
        self._detail.apply(network)
        if self.attention:
            factorise(network.base.sam_mask_decoder.transformer, self.attention)

    def export(self, network: SegmentationNetwork) -> None:
        """Merge the adapters, and remove the boundary head and the base's attentions."""
        self._adapters.export(network)
        self._detail.export(network)
        if self.attention:
            forget_teachers(network.base.sam_mask_decoder.transformer)

    def auxiliary_loss(self, extras: dict[str, Tensor], targets: Tensor, fraction: float) -> Tensor | float:
        """Boundary loss of the detail network."""
        return self._detail.auxiliary_loss(extras, targets, fraction)

    def initialise(self, network: SegmentationNetwork, batches: Iterable[Tensor], keep_on: KeepOn = always) -> None:
        """Distil the base's decoder into the low-rank attentions, on training images without their labels."""
        if not (self.attention and self.distil):
            return
        transformer = network.base.sam_mask_decoder.transformer
        students = [module for module in transformer.modules() if isinstance(module, LowRankAttention)]
        distil_decoder(network, teacher_of(transformer), students, batches, self.distil, keep_on)
