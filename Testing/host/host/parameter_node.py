"""slicer.parameterNodeWrapper: a class with typed fields that are stored in a vtkMRMLScriptedModuleNode."""

import typing

import slicer
import vtk

from .gui_connectors import Decimals, GuiConnector, SingleStep, createGuiConnector, parameterNodeGuiConnector
from .parameter_types import (
    Choice,
    Default,
    Exclude,
    Maximum,
    Minimum,
    Validator,
    WithinRange,
    splitAnnotations,
    storageOf,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "GuiConnector",
    "Maximum",
    "Minimum",
    "SingleStep",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "isParameterNodeWrapper",
    "parameterNodeGuiConnector",
    "parameterNodeWrapper",
    "parameterPack",
]


class _Field:
    """A typed field of a parameter node or pack."""

    def __init__(self, owner: type, name: str, datatype):
        self.name, self.datatype = name, datatype
        bare, annotations = splitAnnotations(datatype)
        self.pack = bare if getattr(bare, "_isParameterPack", False) else None
        self.storage = None if self.pack else storageOf(bare)
        self.validators = [known for known in annotations if isinstance(known, Validator)]
        defaults = [known.value for known in annotations if isinstance(known, Default)]
        self._defaults = [getattr(owner, name)] if hasattr(owner, name) else defaults

    def write(self, node, name: str, value) -> None:
        self.storage.check(value)
        for validator in self.validators:
            validator.validate(value)
        self.storage.write(node, name, value)

    def initialize(self, node, name: str) -> None:
        if self.pack:
            for field in self.pack.allFields.values():
                field.initialize(node, f"{name}.{field.name}")
        elif not self.storage.isIn(node, name):
            self.write(node, name, self._defaults[0] if self._defaults else self.storage.default)

    def read(self, node, name: str):
        return self.pack._of(node, name) if self.pack else self.storage.read(node, name)


def _fields(cls: type) -> dict[str, _Field]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {name: _Field(cls, name, datatype) for name, datatype in hints.items()}


def _addProperties(cls: type, fields: dict[str, _Field], path) -> None:
    """:param path: function of (object, field name) -> (node, name in the node)"""
    for field in fields.values():
        setattr(
            cls,
            field.name,
            property(
                lambda self, field=field: field.read(*path(self, field.name)),
                lambda self, value, field=field: field.write(*path(self, field.name), value),
            ),
        )


def parameterPack(cls: type) -> type:
    """Class decorator for a group of fields inside a parameter node; here it lives in the node only."""
    fields = _fields(cls)

    def of(node, name: str):
        pack = cls.__new__(cls)
        pack.__dict__.update(_node=node, _prefix=name)
        return pack

    cls.allFields, cls._isParameterPack, cls._of = fields, True, staticmethod(of)
    _addProperties(cls, fields, lambda self, name: (self._node, f"{self._prefix}.{name}"))
    return cls


#
# The wrapper
#


class _Methods:
    """What the decorator adds to a class."""

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._connectors: dict[int, dict[str, GuiConnector]] = {}
        self._observerTags: dict[int, int] = {}
        self._updatingGui = False
        for field in self.allParameters.values():
            field.initialize(parameterNode, field.name)

    def _field(self, name: str) -> _Field:
        first, *rest = name.split(".")
        if first not in self.allParameters:
            raise ValueError(f"The parameter node has no parameter {name}")
        field = self.allParameters[first]
        for part in rest:
            field = field.pack.allFields[part]
        return field

    def dataType(self, name: str):
        return self._field(name).datatype

    def getValue(self, name: str):
        return self._field(name).read(self.parameterNode, name)

    def setValue(self, name: str, value) -> None:
        self._field(name).write(self.parameterNode, name, value)

    def connectGui(self, gui) -> int:
        """Bind the widgets with a property SlicerParameterName; `gui` comes from childWidgetVariables."""
        widgets = {widget.property("SlicerParameterName"): widget for widget in vars(gui).values()}
        return self.connectParametersToGui({name: widget for name, widget in widgets.items() if name})

    def connectParametersToGui(self, mapping: dict) -> int:
        connectors = {
            name: gui if isinstance(gui, GuiConnector) else createGuiConnector(gui, self.dataType(name))
            for name, gui in mapping.items()
        }
        tag = max(self._connectors, default=-1) + 1
        self._connectors[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._fromGui(name, connector))
        self._observerTags[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._toGui())
        return tag

    def disconnectGui(self, tag: int) -> None:
        for connector in self._connectors.pop(tag, {}).values():
            connector.onChanged(None)
        if tag in self._observerTags:
            self.RemoveObserver(self._observerTags.pop(tag))

    def _fromGui(self, name: str, connector: GuiConnector) -> None:
        with slicer.util.NodeModify(self):
            if not self._updatingGui:
                self.setValue(name, connector.read())

    def _toGui(self) -> None:
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in list(self._connectors.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updatingGui = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModifying):
        return self.parameterNode.EndModify(wasModifying)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()


class _Empty:
    """Has the members that Python gives to every class; which they are depends on its version."""


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: the annotated names become parameters of a node that the constructor takes."""
    fields = _fields(cls)
    for name, member in vars(_Methods).items():
        if name not in vars(_Empty):
            if name != "__init__" and hasattr(cls, name):
                raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
            setattr(cls, name, member)
    cls.allParameters = fields
    cls._isParameterNodeWrapper = True
    _addProperties(cls, fields, lambda self, name: (self.parameterNode, name))
    return cls


def isParameterNodeWrapper(classOrObject) -> bool:
    return getattr(classOrObject, "_isParameterNodeWrapper", False)
