"""A minimal qt and slicer.i18n, until the host of its own takes over."""

import os
import sys
import types
from pathlib import Path

import pytest

pytest.importorskip("PySide6", reason="needs PySide6-Essentials and Qt.py")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_PREFERRED_BINDING", "PySide6")
REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "SAM2Adapt"))
sys.path.insert(0, str(Path(__file__).parent))

from Qt import QtCore  # noqa: E402


class Wrapped:
    """PySide object with PythonQt's string signals."""

    def __init__(self, *arguments):
        native = [getattr(argument, "native", argument) for argument in arguments]
        self.native = self.make(*native)

    def connect(self, signature, function):
        assert self.native.metaObject().indexOfSignal(signature) >= 0, signature
        signal = getattr(self.native, signature.partition("(")[0])
        count = signature.count(",") + (not signature.endswith("()"))
        code = getattr(function, "__code__", None)
        bound = int(hasattr(function, "__self__"))
        used = min(count, code.co_argcount - bound) if code else count
        signal.connect(lambda *arguments: function(*arguments[:used]))
        return True

    def __getattr__(self, name):
        return getattr(self.native, name)


def _wrapped(cls):
    names = {name: getattr(cls, name) for name in ("NotRunning", "CrashExit", "FailedToStart") if hasattr(cls, name)}
    return type(cls.__name__, (Wrapped,), {"make": staticmethod(cls), **names})


def installQt():
    application = QtCore.QCoreApplication.instance() or QtCore.QCoreApplication([])
    wrapper = Wrapped.__new__(Wrapped)
    wrapper.native = application
    qt = types.ModuleType("qt")
    for name in ("QProcess", "QTimer", "QEventLoop"):
        setattr(qt, name, _wrapped(getattr(QtCore, name)))
    qt.QProcessEnvironment = QtCore.QProcessEnvironment
    qt.QCoreApplication = types.SimpleNamespace(
        instance=lambda: wrapper, processEvents=QtCore.QCoreApplication.processEvents
    )
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = i18n.translate = lambda *texts: texts[-1]
    slicer = types.ModuleType("slicer")
    slicer.i18n = i18n
    sys.modules.update({"qt": qt, "slicer": slicer, "slicer.i18n": i18n})


if "qt" not in sys.modules:
    installQt()
