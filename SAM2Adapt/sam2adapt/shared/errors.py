"""Errors that a user can cause and fix. Each has a sentence that says what is wrong and one that says what to do.

They reach Slicer unchanged (class name, message, remedy), and users always see both sentences. Every other exception is
a bug of ours and keeps its traceback.
"""

from collections.abc import Callable
from typing import Any


class UserError(Exception):
    """An error that a user can cause and fix.

    The sentences name no flag, command or button, because shell and Slicer show them alike. ``setting`` says what the
    remedy changes; the command line adds the flag for it (``cli/remedies.py``), Slicer the label of the control
    (``Engine/Error.py``).

    :param message: a sentence that says what is wrong and names the file or value.
    :param remedy: a sentence that says what to do.
    :param setting: fields of the request that the remedy changes ("batch_size"), or methods of the engine server that
        it calls, in snake case ("download_base"). One name, or several.
    :param value: what to set the first of them to, if a certain value helps.
    """

    def __init__(self, message: str, remedy: str, *, setting: str | tuple[str, ...] = (), value: str | None = None):
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy
        self.setting = (setting,) if isinstance(setting, str) else setting
        self.value = value

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """The whole error, as JSON can hold it."""
        fields = {"message": self.message, "remedy": self.remedy, "setting": list(self.setting), "value": self.value}
        return {"kind": type(self).__name__, **fields}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> "UserError":
        """The error that ``to_json`` described; one of an unknown kind becomes a plain ``UserError``."""
        kinds = {kind.__name__: kind for kind in UserError.__subclasses__()}
        kind = kinds.get(entry["kind"], UserError)
        return kind(entry["message"], entry["remedy"], setting=tuple(entry["setting"]), value=entry["value"])


class InputFileError(UserError):
    """A file or folder is missing, unreadable or of an unknown format."""


class SeriesError(UserError):
    """A DICOM folder holds no series, several of them, or one with missing slices."""


class VolumeError(UserError):
    """A volume cannot be segmented: 4-D, NaN or infinite voxels, constant, an axis of size zero, 1x1 in plane."""


class ModalityError(UserError):
    """A volume is not of the kind that the model was trained on (a colour image for a CT model, for instance)."""


class GeometryError(UserError):
    """An image and its labels do not share one voxel grid."""


class DrawingError(UserError):
    """The drawn slices cannot be filled from: too few, contradictory, or of another volume."""


class ClassesError(UserError):
    """The requested classes do not fit the labels or the model."""


class TrainingDataError(UserError):
    """There is nothing to train on: no pair, no annotated voxel, a split that matches no file."""


class ModelNotFoundError(UserError):
    """No model of that name is known on this machine."""


class ModelFileError(UserError):
    """A model file is truncated, tampered with, foreign, or written by a newer version."""


class WeightsMissingError(UserError):
    """The weights of a base network are not on this machine."""


class ChecksumError(UserError):
    """A file's SHA-256 is not the published one."""


class DownloadError(UserError):
    """A download failed; the next one continues where it stopped."""


class BatchError(UserError):
    """Some studies of a batch failed, or it was stopped early; the outputs of the others are there."""


class OutputError(UserError):
    """The output cannot be written: no such folder, not writable, disk full, unknown format."""


class SettingsError(UserError):
    """A setting or a combination of settings is not possible."""


class ForgettingError(UserError):
    """A continued model is clearly worse than its parent at what the parent had learnt."""


class DeviceError(UserError):
    """The device does not exist, or has too little memory."""


class RemoteError(UserError):
    """The engine on another computer cannot be reached or used, or the connection to it was lost."""


class CancelledError(UserError):
    """The user stopped the run. Nothing else changed, and what can be resumed is kept."""


def check_cancelled(cancelled: Callable[[], bool] | None, what: str) -> None:
    """Stop here if the user has cancelled the work.

    :param what: the work, as the sentence begins: "The segmentation".
    :raises CancelledError: ``cancelled()`` is true.
    """
    if cancelled is not None and cancelled():
        raise CancelledError(f"{what} was cancelled.", "Nothing was changed.")
