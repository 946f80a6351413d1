"""The modules that code in Slicer imports: qt, ctk, slicer.i18n, slicer.parameterNodeWrapper, SampleData …"""

import importlib
import sys
import types

import shiboken6
import slicer
from Qt import QtCore, QtGui, QtWidgets

from . import emulated
from .pythonqt import wrapperClassOf

#: By way of Qt.py, which leaves out what Qt 5 lacks: Slicer is built with Qt 5 or Qt 6.
_QT = (QtCore, QtGui, QtWidgets)
#: What SampleDataLogic.registerCustomSampleDataSource takes.
_SAMPLE_ARGUMENTS = {
    "category", "sampleName", "sampleDescription", "uris", "fileNames", "nodeNames", "loadFileTypes", "loadFiles",
    "customDownloader", "thumbnailFileName", "checksums", "loadFileProperties",
}  # fmt: skip
#: What modules registered: one dict a sample.
samples: list[dict] = []


def _qtClass(name: str):
    member = emulated.classes.get(name) if name == "QUiLoader" else None
    member = member or next((getattr(module, name) for module in _QT if hasattr(module, name)), None)
    isClass = isinstance(member, type) and issubclass(member, shiboken6.Shiboken.Object)
    return wrapperClassOf(member) if isClass and name.startswith("Q") else None


def _emulatedClass(*prefixes: str):
    def find(name: str):
        cls = emulated.classes.get(name) if name.startswith(prefixes) else None
        return wrapperClassOf(cls) if cls is not None else None

    return find


def _module(name: str, find=None, **members) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    if find is not None:
        _findBy(module, find)
    sys.modules[name] = module
    return module


def _findBy(module: types.ModuleType, find) -> None:
    def getattribute(name: str):
        found = find(name) if not name.startswith("_") else None
        if found is None:
            raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")
        return found

    module.__getattr__ = getattribute


def install() -> None:
    """qt, ctk and the widget classes of slicer."""
    for name in (
        "ctk",
        "mrml_widgets",
        "segmentation_widgets",
        "segment_editor",
        "modules",
        "main_window",
        "ui_loader",
    ):
        importlib.import_module(f".{name}", __package__)
    _module("qt", _qtClass)
    _module("ctk", _emulatedClass("ctk"))
    _findBy(slicer, _emulatedClass("qMRML", "qSlicer"))


def installSlicerModules() -> None:
    """The Python modules, which need qt and slicer.app."""
    scripted = importlib.import_module(".scripted_module", __package__)
    parameters = importlib.import_module(".parameter_node", __package__)
    slicer.ScriptedLoadableModule = sys.modules["slicer.ScriptedLoadableModule"] = scripted
    slicer.parameterNodeWrapper = sys.modules["slicer.parameterNodeWrapper"] = parameters
    slicer.packaging = sys.modules["slicer.packaging"] = importlib.import_module(".pip", __package__)
    slicer.i18n = _module("slicer.i18n", tr=_tr, translate=_translate)
    _module("SampleData", SampleDataLogic=SampleDataLogic)
    for name in ("segment_effects", "editor_effects"):
        importlib.import_module(f".{name}", __package__).install()
    slicer.modules.sampledata = types.SimpleNamespace(path=__file__)


def _tr(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    return text


def _translate(context: str, text: str) -> str:
    return _tr(text)


class SampleDataLogic:
    """Records the samples that a module registers."""

    @staticmethod
    def registerCustomSampleDataSource(**arguments) -> None:
        if unknown := set(arguments) - _SAMPLE_ARGUMENTS:
            raise TypeError(f"registerCustomSampleDataSource() got unexpected arguments {sorted(unknown)}")
        samples.append(arguments)
