"""Slicer's own Python layer, strictly as PythonQt shows it, with the Segment Editor of `host` in it.

For acceptance: SLICERHOST names the folder of *slicerhost*, a stand-in for the application in which Slicer's own Python
files run unmodified; SLICER_SOURCE_DIR names Slicer's sources. Its Segment Editor is a placeholder. `host` has one on
Slicer's own logic; here its classes become classes of that stand-in, which decides what Python may see of them.
"""

import importlib
import os
import sys
import types
from pathlib import Path

#: Environment variables.
FOLDER, SOURCES = "SLICERHOST", "SLICER_SOURCE_DIR"
sys.path[:0] = [str(Path(__file__).parent), os.environ[FOLDER]]
slicerhost = importlib.import_module("slicerhost")


def boot():
    """Start that Slicer, with Slicer's own module Segment Editor and its two effects that complete drawings.

    :return: slicerhost, whose ``report`` has what Slicer would swallow.
    """
    slicerhost.boot()
    _takeEditor(importlib.import_module("slicerhost.pythonqt"))
    modules = Path(os.environ[SOURCES]) / "Modules"
    python = modules / "Loadable" / "Segmentations" / "EditorEffects" / "Python"
    sys.modules.pop("SegmentEditorEffects", None)  # slicerhost's has not what Slicer's own package imports
    sys.path.append(str(python))
    importlib.import_module("SegmentEditorEffects")  # first, as Slicer does
    slicerhost.load_module(modules / "Scripted" / "SegmentEditor" / "SegmentEditor.py", enter=False)
    effects = importlib.import_module("qSlicerSegmentationsEditorEffectsPythonQt")
    for name in ("FillBetweenSlices", "GrowFromSeeds"):
        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        effect.setPythonSource((python / "SegmentEditorEffects" / f"SegmentEditor{name}Effect.py").as_posix())
        effect.self().register()
    return slicerhost


def _takeEditor(pythonqt) -> None:
    """Import the Segment Editor of `host` on slicerhost's tools in the place of `host`'s own."""
    records = importlib.import_module("host.records")
    records.slotErrors, records.problems = pythonqt.report.slot_errors, pythonqt.report.problems

    def emulated(cls: type) -> type:
        if cls.__name__ in pythonqt._built:
            raise RuntimeError(f"slicerhost made {cls.__name__} before ours could take its place.")
        cls.defaults = {name: value.default for name, value in vars(cls).items() if isinstance(value, _Stored)}
        known = (_Stored, pythonqt.QtCore.Signal, int)  # slicerhost has Slicer's properties, signals and enums
        for name, value in list(vars(cls).items()):
            if not name.startswith("_") and (isinstance(value, known) or name == "vtkSignals"):
                delattr(cls, name)
        if hasattr(cls, "_begin"):
            cls.init = lambda self, *arguments: self._begin()
        pythonqt.IMPL[cls.__name__] = cls
        return pythonqt.resolve(cls.__name__)

    kept = []
    members = {
        "emulated": {"emulated": emulated, "stored": lambda name, kind, default: _Stored(default)},
        "mrml_widgets": {"qMRMLWidget": pythonqt.resolve("qMRMLWidget")},
        "pythonqt": {
            "keep": kept.append, "wrap": _same, "unwrap": _same,
            "wrapperClassOf": lambda cls: pythonqt.resolve(cls.__name__),
        },
    }  # fmt: skip
    for name, own in members.items():
        sys.modules[f"host.{name}"] = module = types.ModuleType(f"host.{name}")
        vars(module).update(own)
    importlib.import_module("host.segment_editor")
    importlib.import_module("host.segment_effects").installFilters()


class _Stored:
    def __init__(self, default):
        self.default = default


def _same(value):
    return value
