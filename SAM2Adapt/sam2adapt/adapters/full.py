"""``full``: fine-tuning of all of SAM2's image path, for comparison with the methods that leave it frozen."""

from dataclasses import dataclass

from ..network.network import SegmentationNetwork
from .method import Method


@dataclass(frozen=True)
class FullFineTuning(Method):
    """Nothing is put in; every parameter of encoder and decoder is trained, and its bundle holds them all."""

    name = "full"
    summary = "all of SAM2 fine-tuned, for comparison; makes large model files"

    def apply(self, network: SegmentationNetwork) -> None:
        """Let everything that takes part in prompt-free decoding be trained."""
        base = network.base
        for module in (base.image_encoder, base.sam_mask_decoder):
            module.requires_grad_(True)
        base.no_mem_embed.requires_grad_(True)
        base.sam_prompt_encoder.no_mask_embed.requires_grad_(True)

    def export(self, network: SegmentationNetwork) -> None:
        """Leave the network as it is: there is nothing to merge."""
