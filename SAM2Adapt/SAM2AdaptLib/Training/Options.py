"""Parameters of a training: presets and what they need, and how they are told to the engine."""

import enum

from sam2adapt.shared import known_bases, presets, slicing_axis
from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.requests.actions import Train
from slicer.i18n import tr as _


class Preset(enum.Enum):
    """A base network and how it is adapted, in one word."""

    NANO = "nano"
    NANO_WIDE = "nano-wide"
    FAST = "fast"
    BALANCED = "balanced"
    MAX = "max"

    def label(self):
        return {
            "nano": _("Nano (works at once, no download)"),
            "nano-wide": _("Nano, wide (slower, mostly more accurate)"),
            "fast": _("Fast"),
            "balanced": _("Balanced"),
            "max": _("Maximum"),
        }[self.value]

    @property
    def base(self):
        """Id of the base network."""
        return presets.PRESETS[self.value].base

    @property
    def megabytes(self):
        """What it downloads once; 0 for what comes with the extension."""
        info = known_bases.BASES.get(self.base)
        return round(info.bytes / 1e6) if info else 0

    def needs(self):
        """What it is for and what it needs, in one sentence."""
        return {
            "nano": _("Comes with the extension. Trains and runs on a CPU; for a start and for few cases."),
            "nano-wide": _(
                "Comes with the extension. Mostly more accurate after as many epochs; predicts half as fast."
            ),
            "fast": _("Quick to train and to run, also without a GPU; downloads {size} MB once."),
            "balanced": _("Good accuracy; wants an ordinary GPU with 8 GB, and downloads {size} MB once."),
            "max": _("Best accuracy; wants a large GPU with 24 GB, and downloads {size} MB once."),
        }[self.value].format(size=self.megabytes)


class Duration(enum.Enum):
    """How long a training may take."""

    SHORT = 5
    MEDIUM = 15
    LONG = 60
    UNLIMITED = 0

    def label(self):
        if self is Duration.UNLIMITED:
            return _("until it stops improving")
        return _("{minutes} minutes at most").format(minutes=self.value)


BASES = known_bases.NAMES
METHODS = presets.METHODS
AXES = slicing_axis.AXES


def engineOptions(node):
    """The parameters of the engine's ``train`` for those of the panel.

    :param node: ``SAM2AdaptTrainingParameterNode``.
    :return: dict; what the user left to the engine is not in it.
    :raises SettingsError: a setting that was typed in is not of the form name=value.
    """
    options = {
        "epochs": node.epochs,
        "batchSize": node.batchSize,
        "rotation": node.rotation,
        "scale": node.scale,
        "flips": ["rows"] * node.mirrorRows + ["columns"] * node.mirrorColumns,
        "seed": node.seed,
        "device": node.device,
        "allForTraining": node.allForTraining,
        "keepPieces": node.keepPieces,
        "description": node.description,
        "license": node.license.strip() or Train.license,
        "settings": pairs(node.methodSettings),
        "preview": node.preview,
        **_network(node),
        **pairs(node.furtherSettings),
    }
    chosen = {
        "learningRate": node.learningRate,
        "maxMinutes": node.maxMinutes or node.duration.value,
        "patience": node.patience,
        "size": node.imageSize,
        "axis": node.axis,
    }
    return options | {name: value for name, value in chosen.items() if value}


def _network(node):
    """Model to continue, or preset with what was chosen instead of its parts."""
    if node.startModel:
        return {"init": node.startModel, "quick": node.quick}
    if node.method:
        return {"base": node.base or node.preset.base, "method": node.method, "quick": node.quick and quickFits(node)}
    return {"preset": node.preset.value} | ({"base": node.base} if node.base else {})


def quickFits(node):
    """Whether quick adapt is possible: what it leaves as it is belongs to a model or to the base network.

    :param node: as of ``engineOptions``.
    """
    inDecoder = node.method == "lora" and "placement=decoder" in node.methodSettings.replace(" ", "")
    return bool(node.startModel) or node.method == "head" or inDecoder


def pairs(text):
    """Dict of what "rank=8, blocks=all" says; numbers become numbers.

    :raises SettingsError: it is not of that form.
    """
    settings = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or not equals or not value:
            raise SettingsError(
                _("“{part}” is not a setting with a value.").format(part=part), _("Write it like rank=8.")
            )
        settings[name] = _value(value)
    return settings


def _value(text):
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
