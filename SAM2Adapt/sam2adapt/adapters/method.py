"""What every adaptation method can do."""

from dataclasses import asdict, dataclass, fields
from typing import ClassVar

from ..network.network import SegmentationNetwork


@dataclass(frozen=True)
class Method:
    """An adaptation method and its settings (the dataclass fields, stored in the bundle)."""

    name: ClassVar[str]
    summary: ClassVar[str]

    @classmethod
    def setting_names(cls) -> list[str]:
        """Names of the settings that the method takes."""
        return [field.name for field in fields(cls)]

    def settings(self) -> dict:
        """All settings, defaults included, as JSON can hold them."""
        return asdict(self)

    def apply(self, network: SegmentationNetwork) -> None:
        """Put the method's modules into the network, in place; at step 0 the output must not change."""
        raise NotImplementedError

    def export(self, network: SegmentationNetwork) -> None:
        """Merge and fuse the method's modules for prediction, in place and exactly."""
        raise NotImplementedError
