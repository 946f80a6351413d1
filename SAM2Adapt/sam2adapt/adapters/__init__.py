"""The adaptation methods, one file each, and their registry.

A new method is one file with a ``Method`` and one line here; only ``shared.presets`` also lists the names.
"""

from .balr import BALR
from .combined import Combined
from .detail import DetailNetwork
from .dual import HighPerformanceAdapters, LightweightAdapters
from .full import FullFineTuning
from .head import HeadOnly
from .lora import SAM2LoRA
from .method import METHODS, Method, create
from .refine import RefinementMethod

METHODS.update(
    (method.name, method)
    for method in (
        HeadOnly,
        SAM2LoRA,
        HighPerformanceAdapters,
        LightweightAdapters,
        BALR,
        DetailNetwork,
        RefinementMethod,
        Combined,
        FullFineTuning,
    )
)

__all__ = ["METHODS", "Method", "create"]
