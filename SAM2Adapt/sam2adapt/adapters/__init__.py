"""The published adaptation methods, one file each, and the registry that the rest of the engine asks.

A new method is one file with a ``Method`` and one line here; nothing else in the engine knows their names.
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
