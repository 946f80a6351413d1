"""Properties and signals of a QObject, read from its meta object with PythonQt's rules."""

import enum
import functools
import math
import operator
from dataclasses import dataclass

from PySide6 import QtCore

from . import records


@dataclass(frozen=True)
class Signal:
    name: str
    shown: str  #: signature as Slicer has it: currentNodeChanged(vtkMRMLNode*)
    native: str  #: signature as PySide has it: currentNodeChanged(PyObject)


def signalsOf(native: QtCore.QObject) -> tuple[Signal, ...]:
    return _signals(type(native))


@functools.cache
def _signals(cls: type) -> tuple[Signal, ...]:
    meta = cls.staticMetaObject
    vtkTypes = {name: vtkType for base in cls.__mro__ for name, vtkType in base.__dict__.get("vtkSignals", {}).items()}
    signals = []
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.Signal:
            name, signature = bytes(method.name()).decode(), bytes(method.methodSignature()).decode()
            signals.append(Signal(name, signature.replace("PyObject", vtkTypes.get(name, "PyObject")), signature))
    return tuple(signals)


def findSignal(native: QtCore.QObject, signature: str) -> Signal | None:
    """The signal of exactly this signature; white space and a leading 2 (from SIGNAL()) do not count."""
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature.lstrip("2"))).decode()
    return next((signal for signal in signalsOf(native) if signal.shown == normalized), None)


def readProperty(native: QtCore.QObject, meta: QtCore.QMetaProperty):
    try:
        return meta.read(native)
    except RuntimeError:  # PySide converts no flags
        return getattr(native, meta.name())()


def writeProperty(native: QtCore.QObject, meta: QtCore.QMetaProperty, value) -> None:
    """Write with PythonQt's conversions; raises AttributeError where PythonQt does."""
    name, typeName = meta.name(), meta.typeName()
    className = type(native).__name__
    if not meta.isWritable():
        raise AttributeError(f"Property '{name}' of {className} object is not writable")
    try:
        converted = _converted(value, typeName)
        if meta.isEnumType():
            accepted = _writeEnum(native, meta, converted)
        else:
            accepted = native.setProperty(name, converted)
    except (TypeError, ValueError, KeyError):
        accepted = False
    if not accepted:
        kind = type(value).__name__
        raise AttributeError(f"Property '{name}' of type '{typeName}' does not accept a {kind} ({value!r})")


def _writeEnum(native, meta, value) -> bool:
    name = meta.name()
    enumType = type(readProperty(native, meta))
    if isinstance(value, str):
        value = enumType[value]
    elif not isinstance(value, enum.Enum):
        value = enumType(value)
    if meta.isFlagType() or not native.setProperty(name, value):
        getattr(native, f"set{name[0].upper()}{name[1:]}")(value)
    return True


def _converted(value, typeName: str):
    """PythonQt takes anything for a text or a truth value, and nothing but numbers for a number."""
    if typeName == "bool":
        return bool(value)
    if typeName in ("int", "uint"):
        return math.floor(value) if isinstance(value, float) else operator.index(value)
    if typeName in ("double", "float"):
        if isinstance(value, str):
            raise TypeError(value)
        return float(value)
    if typeName == "QString":
        return str(value)
    if typeName == "QStringList":
        if isinstance(value, str):
            records.problem(f"{value!r} for a list of texts becomes a list of its characters")
        return [str(item) for item in value]
    return value
