"""Temporary folders for files that are handed to the engine and come back from it."""

import atexit
import contextlib
import ctypes
import os
import re
import shutil
import tempfile
from pathlib import Path

import slicer
from sam2adapt.shared.errors import OutputError
from slicer.i18n import tr as _

_FOLDER_PREFIX = "SAM2Adapt-job-"
_FOLDER_NAME = re.compile(_FOLDER_PREFIX + r"(\d+)-\w{8}")  # with the process ID


class PrivateFolder:
    """A temporary folder that only this user can read and that is removed at the latest when Slicer ends.

    What a Slicer that was killed left behind is removed when the next folder is made.

    :ivar path: the folder (pathlib.Path).
    :raises OutputError: the temporary folder of Slicer cannot be written to.
    """

    def __init__(self):
        removeLeftovers()
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir=_temporaryFolder()))
        except OSError as error:
            raise OutputError(
                _("No temporary folder could be made: {error}.").format(error=error.strerror or error),
                _("Choose another temporary folder in Slicer's application settings, or free space on its disk."),
            ) from error
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Remove the folder with all that is in it; may be called again.

        On Windows files that an ending process still has open stay; they are removed when Slicer ends, or with the
        leftovers after that.
        """
        shutil.rmtree(self.path, ignore_errors=True)
        if not self.path.exists():
            atexit.unregister(self.close)

    def remove(self, path):
        """Remove one file now, if no process has it open, so that many time points do not fill the disk."""
        with contextlib.suppress(OSError):
            os.remove(path)


def removeLeftovers():
    """Remove the folders of processes that ended without removing them."""
    for folder in _temporaryFolder().glob(f"{_FOLDER_PREFIX}*"):
        name = _FOLDER_NAME.fullmatch(folder.name)
        if name and not _isRunning(int(name[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _temporaryFolder():
    return Path(slicer.app.temporaryPath if hasattr(slicer, "app") else tempfile.gettempdir())


def _isRunning(processId):
    if os.name != "nt":
        try:
            os.kill(processId, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it runs, as another user's
        return True
    # On Windows os.kill would end the process.
    synchronize, stillWaiting = 0x00100000, 0x00000102
    handle = ctypes.windll.kernel32.OpenProcess(synchronize, False, processId)
    if not handle:
        return False
    running = ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == stillWaiting
    ctypes.windll.kernel32.CloseHandle(handle)
    return running
