"""PyTorch comes through Slicer's extension for it, which is a fake here; pip and the environments are real."""

import functools
import os
import subprocess
import sys
import types

import pytest
import qt
from installer_testing import Run, complete, folder, python, versions
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Install import Installer, PyTorchExtension

__all__ = ["folder", "python"]


class Signatures:
    """``installTorch`` as versions of the extension have it."""

    def current(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None,
                torchvisionVersionRequirement=None):  # fmt: skip
        return askConfirmation, forceComputationBackend, torchVersionRequirement, torchvisionVersionRequirement

    def other(self, askConfirmation=True, torchVersionRequirement="", torchVisionVersionRequirement=""):
        return askConfirmation, None, torchVersionRequirement, torchVisionVersionRequirement

    def old(self, confirm=True):
        return confirm, None, ">=2.5", ">=0.20"


@pytest.mark.parametrize("name", ["current", "other", "old"])
def test_every_version_of_the_extension_is_called_rightly(monkeypatch, tmp_path, name):
    seen = []
    signature = getattr(Signatures, name)

    @functools.wraps(signature)
    def installTorch(self, **arguments):
        seen.append((signature(self, **arguments), os.environ["PIP_CONSTRAINT"]))

    module = types.SimpleNamespace(PyTorchUtilsLogic=type("Logic", (), {"installTorch": installTorch}))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    monkeypatch.setenv("PIP_CONSTRAINT", "before")
    PyTorchExtension.installTorch(">=2.5", ">=0.20", tmp_path / "a b.txt")
    assert seen == [((False, None, ">=2.5", ">=0.20"), (tmp_path / "a b.txt").as_uri())]
    assert os.environ["PIP_CONSTRAINT"] == "before"


@pytest.fixture
def extension(python, folder, monkeypatch):
    """Puts a PyTorchUtils in place; ``run`` of its logic installs with the real pip, all of it as new as possible."""

    def put(installTorch):
        class PyTorchUtilsLogic:
            def run(self, torch, torchvision):
                packages = [f"torch{torch}", f"torchvision{torchvision}"]
                options = ["--upgrade", "--upgrade-strategy", "eager", "--no-index", "--find-links", folder]
                subprocess.run([python, "-m", "pip", "install", *options, *packages], check=True, capture_output=True)

        PyTorchUtilsLogic.installTorch = installTorch
        monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))

    return put


def test_pytorch_comes_through_the_extension(slicerHost, python, extension):
    def installTorch(self, torchVersionRequirement, torchvisionVersionRequirement):
        self.run(torchVersionRequirement, torchvisionVersionRequirement)

    complete(python, "torch", "torchvision")
    extension(installTorch)
    run = Run(slicerHost, python=python)
    assert run.job.state == "done", f"{run.error}\n{run.text}"
    assert versions(python)["numpy"] == "2.1.0" and versions(python)["torch"] == "2.9.1"
    assert "PIP_CONSTRAINT" not in os.environ and run.log == []


def test_an_extension_that_fails_is_quoted(slicerHost, python, extension):
    def installTorch(self):
        raise TypeError("argument of type 'NoneType' is not iterable")

    extension(installTorch)
    run = Run(slicerHost, python=python)
    assert run.job.state == "failed" and "NoneType" in run.error.message and run.log == []


def test_cancel_while_the_extension_works_stops_after_it(slicerHost, python, extension):
    def installTorch(self, torchVersionRequirement, torchvisionVersionRequirement):
        Installer._running[0].cancel()  # the extension lets Slicer handle clicks
        self.run(torchVersionRequirement, torchvisionVersionRequirement)

    extension(installTorch)
    run = Run(slicerHost, python=python)
    assert run.error.kind == "CancelledError" and versions(python)["torch"] and run.log == []


class ExtensionsManager:
    """The part of qSlicerExtensionsManagerModel that is used."""

    def __init__(self, isInstalled, installs=True):
        self.interactive = True
        self.calls = []
        self._isInstalled, self._installs = isInstalled, installs

    def isExtensionInstalled(self, name):
        return self._isInstalled

    def installExtensionFromServer(self, name, restart):
        # The setting is there before, so that a Slicer that is quit meanwhile goes on as well.
        self.calls.append((name, restart, self.interactive, qt.QSettings().value(PyTorchExtension.PENDING_SETTING)))
        return self._installs


@pytest.fixture
def extensionsManager(monkeypatch):
    def put(*state):
        model = ExtensionsManager(*state)
        monkeypatch.setattr(PyTorchExtension.slicer, "app", types.SimpleNamespace(extensionsManagerModel=lambda: model))
        return model

    return put


@pytest.mark.parametrize(("isInstalled", "expected"), [(False, "is missing"), (True, "started again")])
def test_without_the_extension_nothing_is_tried(
    slicerHost, python, monkeypatch, extensionsManager, isInstalled, expected
):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    extensionsManager(isInstalled)
    run = Run(slicerHost, python=python)
    assert run.error.kind == PyTorchExtension.EXTENSION_MISSING and expected in run.error.message and run.log == []


def test_the_extension_is_installed_and_the_rest_waits_for_the_restart(tmp_path, extensionsManager):
    model = extensionsManager(False)
    assert PyTorchExtension.takePendingInstall() is None
    PyTorchExtension.installPyTorchExtension(tmp_path)
    assert model.calls == [("PyTorch", False, False, "yes")] and model.interactive is True
    assert PyTorchExtension.takePendingInstall() == {"wheelFolder": str(tmp_path)}
    assert PyTorchExtension.takePendingInstall() is None
    extensionsManager(False, False)
    with pytest.raises(EngineError):
        PyTorchExtension.installPyTorchExtension()
    assert PyTorchExtension.takePendingInstall() is None
