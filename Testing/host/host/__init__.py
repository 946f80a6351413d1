"""A small stand-in for the Slicer application, for tests of the panels.

Real: the scene, its nodes and the module logics (PyPI slicer-core), `slicer.util`. Stand-ins: everything of Qt, which
is PySide6 behind the rules of PythonQt, and the few Python modules of Slicer that the product imports. It fails on what
it does not know: a test that needs more of Slicer adds it here, as Slicer has it.
"""

import atexit
import importlib
import sys
import tempfile
import time
import types
from pathlib import Path

sys.pyside6_option_python_enum = 0x02  # enums are ints as in PythonQt; has to be set before shiboken is imported
import shiboken6  # noqa: E402

from . import records  # noqa: E402


class Host:
    """The one Slicer of this process; `boot` makes it."""

    def __init__(self):
        import slicer

        self.slicer = slicer
        self.records = records
        self._folder = tempfile.TemporaryDirectory(prefix="slicer-host-")

    def _boot(self) -> None:
        slicer = self.slicer
        slicer.modules = sys.modules["slicer.modules"] = types.ModuleType("slicer.modules")
        slicer.selfTests, slicer.dicomDatabase = {}, None
        from . import dialogs, flat_modules

        flat_modules.install()
        from . import application
        from .pythonqt import wrap

        self.application = application.qSlicerApplication(application.homeFolder(Path(self._folder.name)))
        slicer.app = wrap(self.application)
        dialogs.install()
        self.application._start()
        flat_modules.installSlicerModules()
        self.application._modules._load(Path(__file__).parent / "modules_of_slicer" / "SegmentEditor.py")
        records.listen()

    def loadModule(self, path: str | Path):
        """Import a module file, open its panel and enter it. Returns the Python widget, slicer.modules.<Name>Widget."""
        path = Path(path)
        self.application._modules._load(path)
        self.application.startupCompleted.emit()
        self.slicer.app.disconnect("startupCompleted()")  # comes once in the life of a Slicer
        self.application._mainWindow.moduleSelector().selectModule(path.stem)
        self.processEvents()
        return getattr(self.slicer.modules, f"{path.stem}Widget")

    def unloadModule(self, name: str) -> None:
        self.application._modules._unload(name)
        self.processEvents()

    def processEvents(self, seconds: float = 0.0, until=None) -> bool:
        """Let Qt work for some seconds, or until a condition holds; returns whether it did in the end."""
        end = time.monotonic() + seconds
        while True:
            self.application.processEvents()
            self.application.sendPostedEvents(None, 52)  # QEvent.DeferredDelete, which processEvents leaves
            if until is not None and until():
                return True
            if time.monotonic() >= end:
                return until is None
            time.sleep(0.005)

    def screenshot(self, widget, path: str | Path, width: int = 480, expand: bool = False) -> str:
        """Save a picture of a wrapped widget at this width and at the height that it wants.

        :param expand: open all collapsible sections before.
        """
        from .ctk import ctkCollapsibleButton

        native = widget._checked()
        for section in native.findChildren(ctkCollapsibleButton) if expand else ():
            section.setChecked(True)
        native.show()
        self.processEvents(0.05)
        layout = native.layout()
        wrapped = layout is not None and layout.hasHeightForWidth()
        native.resize(width, layout.totalHeightForWidth(width) if wrapped else native.sizeHint().height())
        self.processEvents(0.05)
        native.grab().save(str(path))
        return str(path)

    def close(self) -> None:
        """End in the order that VTK and Qt survive: modules, scene, widgets."""
        for name in list(self.application._modules._modules):
            self.unloadModule(name)
        self.slicer.mrmlScene.RemoveAllObservers()
        self.slicer.mrmlScene.Clear(1)
        for widget in self.application.topLevelWidgets():
            if shiboken6.isValid(widget):
                shiboken6.delete(widget)
        self._folder.cleanup()
        sys.excepthook = sys.__excepthook__


def boot() -> Host:
    """Make `slicer`, `qt` and `ctk` importable as in Slicer; once a process, before the product is imported."""
    importlib.import_module("slicer.util")
    host = Host()
    host._boot()
    atexit.register(host.close)
    return host
