"""Names of the adaptation methods, and recommended combinations of base network, method and image size.

``adapters.create(preset.method, preset.settings)`` creates the method of a preset.
"""

from dataclasses import dataclass, field

# The keys of ``adapters.METHODS``; a test compares them.
METHODS = ("head", "lora", "dual-hp", "dual-lw", "balr", "detail", "refine", "combined", "full")
METHOD = "dual-lw"  # the default

# What the position encoding generator (PEG, ``network/positional.py``) does: its encoding is added to SAM2's, replaces
# it, or there is none.
PEG_ADD, PEG_REPLACE, PEG_NONE = PEG_MODES = ("add", "replace", "none")


@dataclass(frozen=True)
class Preset:
    """A recommended combination, for users who do not want to choose each setting.

    :param base: id of the base network; its weights must be on this machine.
    :param method: name of the method; ``settings``: its settings.
    :param size: longest side of a typical slice in the network, pixels, a size that fits the windows of the base; None:
        chosen from the images.
    :param train_upscaling: also train the decoder's upscaling.
    :param summary: its purpose, in a few words.
    """

    base: str
    method: str
    size: int | None
    summary: str
    settings: dict = field(default_factory=dict)
    train_upscaling: bool = False


_DETAIL = {"name": "detail", "settings": {"width": 48}}
# Without the boundary loss, which made no difference in a test (Testing/benchmarks/README.md).
_WIDE_DETAIL = {"name": "detail", "settings": {"width": 160, "edge": 0.0}}
_ADAPTERS = {
    "name": "dual-hp",
    "settings": {"blocks": "stage3+", "ratio": 3 / 32},
}  # with 1/8, more than 3 % of all weights would be trained
_LORA = {"name": "lora", "settings": {"rank": 16}}

PRESETS: dict[str, Preset] = {
    "nano": Preset(
        "nano",
        "combined",
        None,
        "comes with the project, for a CPU, a start and few cases",
        {"parts": ["dual-lw", "detail", "refine"]},
        train_upscaling=True,
    ),
    "nano-wide": Preset(
        "nano",
        "combined",
        None,
        "comes with the project, mostly more accurate than nano and slower; trains a fifth of all weights",
        {"parts": ["dual-lw", _WIDE_DETAIL, {"name": "refine", "settings": {"width": 96}}]},
        train_upscaling=True,
    ),
    "fast": Preset("tiny", "dual-lw", 224, "quick to train and to run, also without a GPU", train_upscaling=True),
    "balanced": Preset("base_plus", "combined", 224, "good accuracy on an ordinary GPU", {"parts": [_LORA, _DETAIL]}),
    "max": Preset(
        "large",
        "combined",
        256,
        "best accuracy, for a large GPU",
        {"parts": [_LORA, _ADAPTERS, _DETAIL]},
    ),
}
