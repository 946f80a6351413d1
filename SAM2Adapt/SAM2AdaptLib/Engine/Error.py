"""The one failure that all of the Slicer side reports, whether the engine said it or it happened here."""

import contextlib
import re
import traceback

from sam2adapt.shared.errors import UserError
from slicer.i18n import tr as _

#: Kinds of errors about the model, the engine or the settings: whatever volume comes next would meet them, too.
HOPELESS = frozenset(
    ["ClassesError", "DeviceError", "EngineMissing", "ModelFileError", "ModelNotFoundError", "RemoteError",
     "WeightsMissingError"]
)  # fmt: skip
#: Kinds of errors that say nothing about a volume or a model: what failed may go well the next time.
PASSING = frozenset(["CancelledError", "Defect", "EngineMissing", "EngineStopped", "RemoteError"])


class EngineError(Exception):
    """A failure with a sentence that says what is wrong and one that says what to do.

    :param kind: class name of ``sam2adapt.shared.errors``, or "EngineStopped", "EngineMissing" or "Defect".
    :param message: one sentence that says what is wrong.
    :param remedy: one sentence that says what to do about it.
    :param details: for a report to the developers: a traceback, or the engine's last words.
    :param setting: what the remedy is about: keywords of the engine's methods, or methods ("downloadBase").
    :param value: what to give to the first of them, None if it is not known.
    """

    def __init__(self, kind, message, remedy="", details="", setting=(), value=None):
        super().__init__(kind, message, remedy, details)
        self.kind = kind
        self.message = message
        self.remedy = remedy
        self.details = details
        self.setting = tuple(setting)
        self.value = value

    def withRemedy(self, remedy):
        """The same error with another remedy."""
        return EngineError(self.kind, self.message, remedy, self.details, self.setting, self.value)

    def __str__(self):
        return f"{self.message} {self.remedy}".strip()


def fromUserError(error):
    """The EngineError for a ``sam2adapt.shared.errors.UserError`` that was raised in this process."""
    setting = [re.sub("_([a-z])", lambda letter: letter[1].upper(), name) for name in error.setting]
    remedy = remedyInPanel(error.remedy, setting)
    return EngineError(type(error).__name__, error.message, remedy, setting=setting, value=error.value)


@contextlib.contextmanager
def asEngineErrors(defect=""):
    """Raise an EngineError for each ``sam2adapt.shared.errors.UserError`` of the block.

    :param defect: makes any other exception one, too, as the message of ``fromException`` does; "": it passes as it is.
    """
    try:
        yield
    except UserError as error:
        raise fromUserError(error) from error
    except Exception as error:
        if not defect:
            raise
        raise fromException(error, defect) from error


def fromException(exception, message):
    """Any exception as an EngineError; one that no user can mend is a defect of SAM2Adapt.

    :param exception: the exception.
    :param message: of the defect: a sentence with "{error}", for what the exception says.
    """
    if isinstance(exception, EngineError):
        return exception
    if isinstance(exception, UserError):
        return fromUserError(exception)
    details = "".join(traceback.format_exception(exception))
    return EngineError("Defect", message.format(error=exception), _("Please report this with the details."), details)


def remedyInPanel(remedy, setting):
    """The engine's remedy, which suits a command line as well, with the names of the panel's controls in brackets.

    :param remedy: a sentence.
    :param setting: as of ``EngineError``; what has no control is left out.
    """
    known = controlNames()
    names = list(dict.fromkeys(known[name] for name in setting if name in known))
    return f"{remedy.removesuffix('.')} ({', '.join(names)})." if names else remedy


def controlNames():
    """Where the panels have what the engine's remedies are about: {keyword or method of the engine: words}."""
    further = _("{setting} in “Further settings”")
    return {
        "addModel": _("“Import model from file…” in the menu “Models”"),
        "allowForgetting": _("“Add it anyway”"),
        "anyModality": _("“Auto-segment” offers “Run anyway”"),
        "axis": _("“Slices”"),
        "base": _("“Base network”"),
        "batchSize": _("“Batch size”"),
        "channel": _("“Channel”"),
        "classes": _("“Structures”"),
        "device": _("“Device”"),
        "downloadBase": _("start again and choose “Download”"),
        "engineOn": _("“Engine on”"),
        "flips": _("“Mirror up and down”, “Mirror left and right”"),
        "images": _("“Cases”"),
        "init": _("“Start from”"),
        "labels": _("“Cases”"),
        "learningRate": _("“Learning rate”"),
        "method": _("“Method”"),
        "modality": further.format(setting="modality=CT"),
        "model": _("“Model”"),
        "overlap": _("“Where segments overlap”"),
        "peg": further.format(setting="peg"),
        "preset": _("“Preset”"),
        "quick": _("“Quick adapt”"),
        "removeModel": _("“Remove model…” in the menu “Models”"),
        "resume": _("“Resume”"),
        "roi": _("“Region”"),
        "rotation": _("“Rotation (degrees)”"),
        "scale": _("“Scaling”"),
        "seed": _("“Seed”"),
        "settings": _("“Method settings”"),
        "size": _("“Image size”"),
        "source": _("“Offline folder” of “Install engine”"),
        "split": _("column “Use” of “Cases”"),
        "structures": _("“Structures”"),
        "trainUpscaling": further.format(setting="trainUpscaling"),
    }
