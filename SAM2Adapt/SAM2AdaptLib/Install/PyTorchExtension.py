"""Slicer's PyTorch extension: the one place that installs torch for all extensions, in a build for the GPU at hand."""

import contextlib
import inspect
import os
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError

EXTENSION_MISSING = "PyTorchExtensionMissing"
PENDING_SETTING = "SAM2Adapt/InstallAfterRestart"
FOLDER_SETTING = "SAM2Adapt/WheelFolder"


def isPyTorchExtensionUsable():
    """Whether the extension is installed and Slicer was started since."""
    try:
        import PyTorchUtils  # noqa: F401
    except ImportError:
        return False
    return True


def missingExtensionError():
    """What to say when it is not usable."""
    if slicer.app.extensionsManagerModel().isExtensionInstalled("PyTorch"):
        return EngineError(
            EXTENSION_MISSING,
            _("The PyTorch extension is installed and will be there when Slicer is started again."),
            _("Start Slicer again, then install the engine."),
        )
    return EngineError(
        EXTENSION_MISSING,
        _("Slicer's PyTorch extension, which installs PyTorch for all extensions, is missing."),
        _("Install the extension “PyTorch”, start Slicer again and install the engine."),
    )


def installTorch(torch, torchvision, constraints):
    """Let the extension, of whichever version it is, install PyTorch without its question.

    It keeps Slicer busy for some minutes, writes to Slicer's Python console and imports torch when it is done.

    :param torch: versions that may be installed, such as ``>=2.5.1``; ``torchvision`` likewise.
    :param constraints: path of a file for pip that says what must not be replaced.
    :raises Exception: whatever the extension raises.
    """
    from PyTorchUtils import PyTorchUtilsLogic

    function = PyTorchUtilsLogic().installTorch
    # Spelled differently from version to version; without a parameter the extension's own choice is taken.
    arguments = {
        "askconfirmation": False,
        "confirm": False,
        "torchversionrequirement": torch,
        "torchvisionversionrequirement": torchvision,
    }
    names = inspect.signature(function).parameters
    with _environmentVariable("PIP_CONSTRAINT", Path(constraints).as_uri()):
        function(**{name: arguments[name.casefold()] for name in names if name.casefold() in arguments})


@contextlib.contextmanager
def _environmentVariable(name, value):
    """Set a variable for the processes that start inside the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def installPyTorchExtension(wheelFolder=None):
    """Install Slicer's PyTorch extension and note that the installation goes on after the restart that it needs.

    Slicer waits for the download; no question is asked, and Slicer is not restarted here.

    :raises EngineError: it could not be installed.
    """
    model = slicer.app.extensionsManagerModel()
    settings = qt.QSettings()
    settings.setValue(PENDING_SETTING, "yes")
    settings.setValue(FOLDER_SETTING, str(wheelFolder or ""))
    settings.sync()
    wasInteractive = model.interactive
    model.interactive = False
    try:
        installed = model.installExtensionFromServer("PyTorch", False)
    finally:
        model.interactive = wasInteractive
    if not installed:
        settings.remove(PENDING_SETTING)
        raise EngineError(
            "InstallError",
            _("The PyTorch extension could not be installed."),
            _("Check the network, or install “PyTorch” in Slicer's Extensions Manager, then start Slicer again."),
        )


def takePendingInstall():
    """Whether an installation waited for Slicer's restart; asked a second time, none does.

    :return: None, or {"wheelFolder": path or None} for ``install()``.
    """
    settings = qt.QSettings()
    if settings.value(PENDING_SETTING) != "yes":
        return None
    folder = settings.value(FOLDER_SETTING)
    settings.remove(PENDING_SETTING)
    settings.remove(FOLDER_SETTING)
    return {"wheelFolder": folder or None}
