"""What a field of a parameter node can be: the annotations, and how each type is kept in a MRML node."""

import enum
import json
import pathlib
import types
import typing

import slicer

#
# Annotations
#


class Default:
    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


class Validator:
    def validate(self, value) -> None:
        raise NotImplementedError


class WithinRange(Validator):
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    def __init__(self, minimum):
        self.minimum = minimum

    def validate(self, value) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must not be less than {self.minimum}, is {value}")


class Maximum(Validator):
    def __init__(self, maximum):
        self.maximum = maximum

    def validate(self, value) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must not be greater than {self.maximum}, is {value}")


class Choice(Validator):
    def __init__(self, choices):
        self.choices = choices

    def validate(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


class Exclude(Validator):
    def __init__(self, excludedValues):
        self.excludedValues = excludedValues

    def validate(self, value) -> None:
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, which is excluded")


#
# Types
#


class _Stored(list):
    """A list of a parameter node; a change of it is written at once."""

    def __init__(self, values, write):
        super().__init__(values)
        self._write = write


def _changing(name: str):
    def method(self, *args):
        result = getattr(list, name)(self, *args)
        self._write(list(self))
        return result

    return method


for _name in ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "__setitem__", "__delitem__"):
    setattr(_Stored, _name, _changing(_name))


class _Simple:
    """A type with a text for each value."""

    def __init__(self, type_, default, accepted, toText=str, fromText=None):
        self.type, self.default, self._accepted = type_, default, accepted
        self._toText, self._fromText = toText, fromText or type_

    def check(self, value) -> None:
        if value is None:
            raise ValueError("Value must not be None")
        if not isinstance(value, self._accepted):
            raise TypeError(f"Value must be of type {self._accepted}, is {type(value)} {value!r}")

    def isIn(self, node, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node, name: str, value) -> None:
        node.SetParameter(name, self._toText(value))

    def read(self, node, name: str):
        return self._fromText(node.GetParameter(name))


class _List(_Simple):
    def __init__(self, element: _Simple):
        super().__init__(list, [], (list, tuple))
        self._element = element

    def check(self, value) -> None:
        super().check(value)
        for item in value:
            self._element.check(item)

    def write(self, node, name: str, value) -> None:
        node.SetParameter(name, json.dumps([self._element._toText(item) for item in value]))

    def read(self, node, name: str):
        values = [self._element._fromText(text) for text in json.loads(node.GetParameter(name))]
        return _Stored(values, lambda changed: self.write(node, name, changed))


class _Node:
    """A node reference; None is allowed."""

    default = None

    def __init__(self, types_: tuple):
        self._types = types_

    def check(self, value) -> None:
        if value is not None and not isinstance(value, self._types):
            raise TypeError(f"Value must be a node of {self._types}, is {type(value)}")

    def isIn(self, node, name: str) -> bool:
        return True  # no reference is None, which needs not be written

    def write(self, node, name: str, value) -> None:
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name: str):
        return node.GetNodeReference(name)


def splitAnnotations(datatype):
    """(type without annotations, annotations)."""
    if typing.get_origin(datatype) is typing.Annotated:
        return datatype.__origin__, datatype.__metadata__
    return datatype, ()


def nodeTypes(datatype) -> tuple:
    """The MRML classes of a node type or of a union of node types and None; otherwise nothing."""
    datatype = splitAnnotations(datatype)[0]
    isUnion = typing.get_origin(datatype) in (typing.Union, types.UnionType)
    parts = [part for part in typing.get_args(datatype) if part is not types.NoneType] if isUnion else [datatype]
    areNodes = all(isinstance(part, type) and issubclass(part, slicer.vtkMRMLNode) for part in parts)
    return tuple(parts) if areNodes else ()


def storageOf(datatype):
    if nodes := nodeTypes(datatype):
        return _Node(nodes)
    if datatype is bool:
        return _Simple(bool, False, bool, fromText=lambda text: text == "True")
    if datatype is int:
        return _Simple(int, 0, int)
    if datatype is float:
        return _Simple(float, 0.0, (int, float))
    if datatype is str:
        return _Simple(str, "", str)
    if isinstance(datatype, type) and issubclass(datatype, enum.Enum):
        return _Simple(datatype, next(iter(datatype)), datatype, lambda value: value.name, datatype.__getitem__)
    if isinstance(datatype, type) and issubclass(datatype, pathlib.PurePath):
        return _Simple(datatype, datatype(), datatype)
    if typing.get_origin(datatype) is list:
        return _List(storageOf(typing.get_args(datatype)[0]))
    raise TypeError(f"The host's parameter nodes cannot store {datatype}")
