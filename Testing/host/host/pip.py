"""slicer.packaging: installations are recorded and answered, never run."""

import subprocess

from PySide6 import QtCore

from . import records


def pip_install(
    requirements,
    constraints=None,
    no_deps_requirements=None,
    skip_packages=None,
    blocking=True,
    show_progress=True,
    requester=None,
    logCallback=None,
    completedCallback=None,
):
    """Ask the test for pip's exit code, 0 if it has no answer, and tell it as Slicer does."""
    code = records.ask("pip_install", 0, title=requester or "", text=str(requirements), constraints=constraints)
    if not blocking:
        QtCore.QTimer.singleShot(0, lambda: records.callSlot(completedCallback, [code]) if completedCallback else None)
    elif code:
        raise subprocess.CalledProcessError(code, ["pip", "install", str(requirements)])


def isPipInstallInProgress() -> bool:
    return False
