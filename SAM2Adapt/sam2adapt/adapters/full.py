"""``full``: fine-tune SAM2's whole image path, for comparison with methods that leave it frozen."""

from dataclasses import dataclass

from ..network.network import SegmentationNetwork
from .method import Method


@dataclass(frozen=True)
class FullFineTuning(Method):
    """Adds no modules; trains every parameter of encoder and decoder, and the bundle holds all of them."""

    name = "full"
    summary = "all of SAM2 fine-tuned, for comparison; makes large model files"

    def apply(self, network: SegmentationNetwork) -> None:
        """Make everything trainable that takes part in prompt-free decoding."""
        base = network.base
        for module in (base.image_encoder, base.sam_mask_decoder):
            module.requires_grad_(True)
        base.no_mem_embed.requires_grad_(True)
        base.sam_prompt_encoder.no_mask_embed.requires_grad_(True)

    def export(self, network: SegmentationNetwork) -> None:
        """Leave the network as it is: there is nothing to merge."""
