"""The published adaptation methods, one file each, and the registry that the rest of the engine asks.

A new method is one file with a ``Method`` and one line in ``METHODS``; nothing else in the engine knows their names.
"""

from ..shared.errors import SettingsError
from .balr import BALR
from .combined import Combined
from .detail import DetailNetwork
from .dual import HighPerformanceAdapters, LightweightAdapters
from .full import FullFineTuning
from .head import HeadOnly
from .lora import SAM2LoRA
from .method import Method
from .refine import RefinementMethod

METHODS: dict[str, type[Method]] = {
    method.name: method
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
}


def create(name: str, settings: dict | None = None) -> Method:
    """Make a method by its name with settings that differ from its defaults.

    :raises SettingsError: no such method, or a setting that it does not have.
    """
    if name not in METHODS:
        raise SettingsError(f"There is no method '{name}'.", f"Choose one of: {', '.join(METHODS)}.")
    try:
        return METHODS[name](**(settings or {}))
    except TypeError as error:
        known = ", ".join(METHODS[name].setting_names())
        raise SettingsError(f"Method '{name}' does not take these settings: {error}.", f"It has: {known}.") from error
