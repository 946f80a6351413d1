"""QUiLoader as Slicer has it, that tells what Qt would take in silence: unknown classes, properties and connections."""

import functools
import operator
from xml.etree import ElementTree as ET

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import emulated
from .pythonqt import keep, wrap
from .records import problem

#: Properties that belong to a form and to no meta object.
_OF_THE_FORM = {"geometry", "sizeHint"}


@emulated.emulated
class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file; raises ValueError for a widget class that this host does not know."""

    def createWidget(self, className, parent=None, name=""):
        cls = emulated.classes.get(className)
        if cls is None:
            return super().createWidget(className, parent, name)
        widget = cls(parent)
        widget.setObjectName(name)
        keep(widget)
        return widget

    @QtCore.Slot(object, result=object)
    @QtCore.Slot(object, QtWidgets.QWidget, result=object)
    def load(self, device, parent=None):
        root = ET.fromstring(bytes(device.readAll()))
        enums = [enum for element in root.iter("widget") for enum in _takeEnums(element)]
        connections = [
            [connection.find(part).text for part in ("sender", "signal", "receiver", "slot")]
            for connection in root.iter("connection")
        ]
        for element in root.findall("connections"):
            root.remove(element)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        for name, propertyName, value in enums:
            _named(widget, name).setProperty(propertyName, value)
        for connection in connections:
            _connect(widget, *connection)
        return widget


def _takeEnums(element: ET.Element) -> list[tuple]:
    """Check the properties of a widget and take those out that Qt cannot read: the enums of this host's own classes.

    :return: (name of the widget, name of the property, value) of each.
    """
    className, name = element.get("class"), element.get("name")
    cls = emulated.classes.get(className) or getattr(QtWidgets, className, None)
    if cls is None:
        raise ValueError(f"Widget {name}: the host knows no class {className}")
    taken = []
    for declared in element.findall("property"):
        known = cls.staticMetaObject.indexOfProperty(declared.get("name")) >= 0 or declared.get("name") in _OF_THE_FORM
        dynamic = declared.get("stdset") == "0"
        if not known and not dynamic:
            problem(f"Widget {name}: {className} has no property {declared.get('name')}")
        if className in emulated.classes and declared[0].tag in ("enum", "set"):
            element.remove(declared)
            keys = [key.rpartition("::")[2] for key in declared[0].text.split("|")]
            values = [getattr(cls, key) if hasattr(cls, key) else getattr(QtCore.Qt, key) for key in keys]
            taken.append((name, declared.get("name"), functools.reduce(operator.or_, values)))
    return taken


def _connect(widget, sender: str, signal: str, receiver: str, slot: str) -> None:
    ends = {name: _named(widget, name) for name in (sender, receiver)}
    for name, end in ends.items():
        if end is None:
            problem(f"A connection of the .ui file names {name}, which is not there")
            return
    slotName = slot.partition("(")[0]
    if not hasattr(wrap(ends[receiver]), slotName):
        problem(f"A connection of the .ui file names the slot {receiver}.{slot}, which is not there")
        return
    wrap(ends[sender]).connect(signal, wrap(ends[receiver]), slot)


def _named(widget, name: str):
    return widget if widget.objectName() == name else widget.findChild(QtCore.QObject, name)
