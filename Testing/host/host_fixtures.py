"""Boots the small Slicer of `host`, in which the product's modules are loaded, and fixtures for it."""

import importlib.util
import os
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"
REPOSITORY = Path(__file__).resolve().parents[2]
#: What Debian 12 calls the libraries that PySide6 opens without a screen, and a font for pictures of the panels.
LIBRARIES = (
    "libegl1",
    "libgl1",
    "libglib2.0-0",
    "libfontconfig1",
    "libxkbcommon0",
    "libx11-6",
    "libdbus-1-3",
    "fonts-dejavu-core",
)


def _missing() -> str:
    """Why the tests of this folder cannot run here, in words; "" when they can."""
    packages = {"PySide6": "PySide6-Essentials", "Qt": "Qt.py", "slicer": "slicer-core"}
    absent = [package for name, package in packages.items() if importlib.util.find_spec(name) is None]
    if absent:
        return f"needs the PyPI packages {' and '.join(absent)}"
    import host  # noqa: F401  # tells PySide6, before it is imported, how enums are wanted

    try:
        from PySide6 import QtUiTools, QtWidgets  # noqa: F401
    except ImportError as error:
        return f"{error}; on Debian and Ubuntu this helps: apt-get install {' '.join(LIBRARIES)}"
    return ""


MISSING = _missing()
if not MISSING:
    import host

    HOST = host.boot()


class SkippedModule(pytest.Module):
    """A test file that is not imported, because its imports need what is missing."""

    def collect(self):
        pytest.skip(f"Tests of the panels: {MISSING}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return SkippedModule.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture(scope="session")
def slicerHost():
    """The host itself; its `slicer` is the module of that name."""
    return HOST


RECORDS = ("slotErrors", "problems", "dialogs")


@pytest.fixture(autouse=True)
def nothingSwallowed(request):
    """No slot may raise, nothing may be unknown to Slicer and no dialog may open.

    A test that expects one of these takes the list: it asks for the fixture of that name.
    """
    HOST.records.clear()
    yield
    HOST.processEvents()
    found = {name: list(getattr(HOST.records, name)) for name in RECORDS if name not in request.fixturenames}
    HOST.records.clear()
    for name, entries in found.items():
        assert not entries, f"{name}: " + "\n".join(map(str, entries))


@pytest.fixture
def slotErrors() -> list[str]:
    """Tracebacks of what slots and observers raised."""
    return HOST.records.slotErrors


@pytest.fixture
def problems() -> list[str]:
    """Sentences about what Slicer would take in silence."""
    return HOST.records.problems


@pytest.fixture
def dialogs() -> list[dict]:
    """The dialogs that would have opened: "kind", "title", "text" …, "answer"."""
    return HOST.records.dialogs


@pytest.fixture
def answers() -> list:
    """Functions that get such a dict and return the answer, or None for the usual one."""
    return HOST.records.answers


@pytest.fixture
def scene():
    """The scene, empty before and after."""
    HOST.slicer.mrmlScene.Clear(0)
    HOST.processEvents()
    yield HOST.slicer.mrmlScene
    HOST.slicer.mrmlScene.Clear(0)
    HOST.processEvents()


@pytest.fixture
def withoutMainWindow(monkeypatch):
    """Slicer as it was started with --no-main-window."""
    window = HOST.application._mainWindow
    monkeypatch.setattr(HOST.application, "_layoutManager", None)
    window.setObjectName("")
    yield
    window.setObjectName("qSlicerMainWindow")


@pytest.fixture
def loadModule(scene):
    """loadModule("SAM2Adapt") opens the panel in an empty scene and returns its Python widget; closed at the end."""
    loaded = []

    def load(name: str):
        loaded.append(name)
        return HOST.loadModule(REPOSITORY / name / f"{name}.py")

    yield load
    for name in loaded:
        HOST.unloadModule(name)


@pytest.fixture
def processEvents():
    return HOST.processEvents


@pytest.fixture
def screenshot():
    return HOST.screenshot
