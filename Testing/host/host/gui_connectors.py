"""The connectors between widgets and the types of parameter nodes; the type of the widget has to fit exactly."""

import abc
import enum
import math
import pathlib
from dataclasses import dataclass

import ctk
import qt
import slicer

from .parameter_types import Choice, Maximum, Minimum, WithinRange, nodeTypes, splitAnnotations


@dataclass
class Decimals:
    value: int


@dataclass
class SingleStep:
    value: float


class GuiConnector(abc.ABC):
    """Reads and writes a widget as a value; a module derives its own from it."""

    def __init__(self):
        super().__init__()
        self._callback = None

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget, datatype) -> bool: ...

    @staticmethod
    @abc.abstractmethod
    def create(widget, datatype): ...

    @abc.abstractmethod
    def _connect(self): ...

    @abc.abstractmethod
    def _disconnect(self): ...

    @abc.abstractmethod
    def widget(self): ...

    @abc.abstractmethod
    def read(self): ...

    @abc.abstractmethod
    def write(self, value) -> None: ...

    def onChanged(self, callback) -> None:
        self._callback = callback
        if callback is None:
            self._disconnect()
        else:
            self._connect()

    def changed(self) -> None:
        if self._callback:
            self._callback()


_connectors: list[type] = []
_PATHS = (pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePath)
_COMBO_BOXES = (qt.QComboBox, ctk.ctkComboBox)


def parameterNodeGuiConnector(cls=None):
    """Class decorator that registers a connector."""
    if cls is None:
        return parameterNodeGuiConnector
    if not issubclass(cls, GuiConnector):
        raise TypeError("Must be a GuiConnector subclass")
    _connectors.append(cls)
    return cls


def createGuiConnector(widget, datatype) -> GuiConnector:
    for connector in _connectors:
        if connector.canRepresent(widget, datatype):
            return connector.create(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")


class _PropertyConnector(GuiConnector):
    """A widget whose value is a property and whose change is a signal."""

    widgetTypes: tuple = ()
    dataTypes: tuple = ()
    propertyName = signalName = ""

    @classmethod
    def canRepresent(cls, widget, datatype) -> bool:
        return type(widget) in cls.widgetTypes and splitAnnotations(datatype)[0] in cls.dataTypes

    @classmethod
    def create(cls, widget, datatype):
        return cls(widget, datatype)

    def __init__(self, widget, datatype):
        super().__init__()
        self._widget = widget
        self._type, self._annotations = splitAnnotations(datatype)

    def _connect(self) -> None:
        if self.signalName:
            getattr(self._widget, self.signalName).connect(self.changed)

    def _disconnect(self) -> None:
        if self.signalName:
            getattr(self._widget, self.signalName).disconnect(self.changed)

    def widget(self):
        return self._widget

    def read(self):
        return self._type(getattr(self._widget, self.propertyName))

    def write(self, value) -> None:
        setattr(self._widget, self.propertyName, value)

    def _annotation(self, kind: type):
        return next((known for known in self._annotations if isinstance(known, kind)), None)


@parameterNodeGuiConnector
class CheckBox(_PropertyConnector):
    widgetTypes, dataTypes, propertyName, signalName = (qt.QCheckBox,), (bool,), "checked", "stateChanged"


@parameterNodeGuiConnector
class PushButton(_PropertyConnector):
    widgetTypes, dataTypes, propertyName, signalName = (qt.QPushButton,), (bool,), "checked", "toggled"

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        widget.checkable = True


@parameterNodeGuiConnector
class LineEdit(_PropertyConnector):
    widgetTypes, dataTypes, propertyName, signalName = (qt.QLineEdit,), (str,), "text", "textChanged"

    def write(self, value) -> None:
        if value != self._widget.text:  # the cursor stays
            self._widget.text = value


@parameterNodeGuiConnector
class Label(_PropertyConnector):
    widgetTypes, dataTypes, propertyName = (qt.QLabel,), (str,), "text"


@parameterNodeGuiConnector
class TextEdit(_PropertyConnector):
    widgetTypes, dataTypes, propertyName, signalName = (qt.QTextEdit,), (str,), "plainText", "textChanged"


@parameterNodeGuiConnector
class PathLineEdit(_PropertyConnector):
    widgetTypes, dataTypes = (ctk.ctkPathLineEdit,), _PATHS
    propertyName, signalName = "currentPath", "currentPathChanged"


@parameterNodeGuiConnector
class DirectoryButton(_PropertyConnector):
    widgetTypes, dataTypes = (ctk.ctkDirectoryButton,), _PATHS
    propertyName, signalName = "directory", "directoryChanged"


class _Number(_PropertyConnector):
    propertyName, signalName = "value", "valueChanged"
    boundedOnly: tuple = ()
    limits = (-math.inf, math.inf)

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        if (step := self._annotation(SingleStep)) is not None:
            widget.singleStep = step.value
        both = self._annotation(WithinRange)
        low, high = both or self._annotation(Minimum), both or self._annotation(Maximum)
        if type(widget) in self.boundedOnly and not (low and high):
            raise RuntimeError(f"Cannot connect a number without bounds to a {widget.className()}")
        widget.minimum = low.minimum if low else self.limits[0]
        widget.maximum = high.maximum if high else self.limits[1]


@parameterNodeGuiConnector
class Whole(_Number):
    widgetTypes, dataTypes, boundedOnly = (qt.QSpinBox, qt.QSlider), (int,), (qt.QSlider,)
    limits = (-(2**31), 2**31 - 1)


@parameterNodeGuiConnector
class Real(_Number):
    widgetTypes = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSpinBox)
    dataTypes, boundedOnly = (float, int), (ctk.ctkSliderWidget,)

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        decimals = 0 if self._type is int else getattr(self._annotation(Decimals), "value", None)
        if decimals is not None:
            widget.decimals = decimals


class _ComboBox(_PropertyConnector):
    signalName = "currentIndexChanged"

    def _fill(self, values: list, texts: list[str]) -> None:
        self._values = values
        self._widget.clear()
        self._widget.addItems(texts)

    def read(self):
        return self._values[self._widget.currentIndex]

    def write(self, value) -> None:
        self._widget.currentIndex = self._values.index(value)


@parameterNodeGuiConnector
class ChoiceComboBox(_ComboBox):
    widgetTypes, dataTypes = _COMBO_BOXES, (int, float, str, bool)

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        if (known := self._annotation(Choice)) is None:
            raise RuntimeError("A combo box needs the annotation Choice")
        self._fill(list(known.choices), [str(value) for value in known.choices])


@parameterNodeGuiConnector
class EnumComboBox(_ComboBox):
    @classmethod
    def canRepresent(cls, widget, datatype) -> bool:
        bare = splitAnnotations(datatype)[0]
        return type(widget) in _COMBO_BOXES and isinstance(bare, type) and issubclass(bare, enum.Enum)

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        values = list(self._type)
        self._fill(values, [value.label() if hasattr(self._type, "label") else value.name for value in values])


@parameterNodeGuiConnector
class Node(_PropertyConnector):
    signalName = "currentNodeChanged"

    @classmethod
    def canRepresent(cls, widget, datatype) -> bool:
        return type(widget) is slicer.qMRMLNodeComboBox and bool(nodeTypes(datatype))

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        widget.nodeTypes = [nodeType().GetClassName() for nodeType in nodeTypes(datatype)]  # not those of the .ui

    def read(self):
        return self._widget.currentNode()

    def write(self, value) -> None:
        self._widget.setCurrentNode(value)
