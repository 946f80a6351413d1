"""``head``: frozen SAM2 with only class head and PEG, the "vanilla SAM2" for comparison with the methods."""

from dataclasses import dataclass

from ..network.network import SegmentationNetwork
from .method import Method


@dataclass(frozen=True)
class HeadOnly(Method):
    """Adds nothing to the base."""

    name = "head"
    summary = "class head and position encoding on a frozen SAM2"

    def apply(self, network: SegmentationNetwork) -> None:
        """Leave the base as it is."""

    def export(self, network: SegmentationNetwork) -> None:
        """Leave the network as it is: there is nothing to merge."""
