"""PySide6 objects seen as PythonQt shows C++ objects to Slicer's Python.

PythonQt makes wrappers from what the meta object tells, and so does this file: properties are attributes, signals are
named by signatures, of CTK's and Slicer's classes only slots and properties exist. PySide's own classes stay as they
are. Whatever a wrapper does not know raises AttributeError.
"""

import enum
import functools
import itertools
import types
import weakref

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import records
from .members import findSignal, readProperty, signalsOf, writeProperty

#: What PySide6 calls otherwise than PythonQt.
RENAMED = {"exec_": "exec"}
#: (class, method) -> function(object, *args) in the place of a method that would wait for a user.
replacedMethods: dict[tuple[type, str], types.FunctionType] = {}
#: (class, name) -> function(*args) in the place of a static method.
replacedFunctions: dict[tuple[type, str], types.FunctionType] = {}

_wrapperClasses: dict[type, type] = {}
_wrappers = weakref.WeakValueDictionary()  # address of the C++ object -> its wrapper
_kept: dict[int, QtCore.QObject] = {}  # objects whose behaviour is Python code, as long as Qt keeps them
_connections: dict[int, list] = {}  # address of the sender -> [(signal, callable, slot)]


#
# From Qt to Python and back
#


def wrap(value):
    """A value that comes from Qt, as Python code in Slicer gets it: lists are tuples, objects are wrapped."""
    if isinstance(value, shiboken6.Shiboken.Object) and not isinstance(value, enum.Enum):
        return _wrapObject(value)
    if isinstance(value, (list, tuple)):
        return tuple(wrap(item) for item in value)
    if isinstance(value, dict):
        return {key: wrap(item) for key, item in value.items()}
    return value


def unwrap(value):
    """A value that Python code in Slicer gives to Qt."""
    if isinstance(value, Wrapper):
        return value._checked()
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    return value


def _wrapObject(native):
    if (shell := _shellOf(native)) is not None:
        return shell
    known = _wrappers.get(_address(native))
    if known is None or known._native is not native:
        wrapperClass = wrapperClassOf(type(native))
        known = wrapperClass.__new__(wrapperClass)
        _bind(known, native)
    return known


def _shellOf(native):
    """The object of a Python class that is derived from the class of `native`, if there is one."""
    shell = getattr(native, "_shell", None)
    return shell() if shell is not None else None


def _bind(wrapper, native) -> None:
    object.__setattr__(wrapper, "_native", native)
    if isinstance(native, QtCore.QObject):
        _wrappers[_address(native)] = wrapper


def _address(native) -> int:
    return shiboken6.getCppPointer(native)[0]


def keep(native: QtCore.QObject) -> None:
    """Keep an object whose class is Python code until Qt destroys it; PySide would forget the Python half before."""
    address = _address(native)
    _kept[address] = native
    native.destroyed.connect(lambda *_: _kept.pop(address, None))


class Call:
    """A C++ method or function. Like PythonQt it takes no keywords and raises ValueError for wrong arguments."""

    def __init__(self, function, name: str):
        self._function, self._name = function, name

    def __call__(self, *args):
        if any(isinstance(arg, (types.FunctionType, types.MethodType)) for arg in args):
            raise ValueError(f"{self._name}: a C++ method takes no Python function; connect a signal to it")
        natives = [unwrap(arg) for arg in args]
        try:
            return wrap(self._function(*natives))
        except TypeError as error:
            raise ValueError(f"Could not find matching overload for given arguments: {self._name}{args}") from error


def _shown(member, name: str):
    """A member of a native class as Python sees it, or None."""
    if isinstance(member, enum.EnumMeta):
        return functools.partial(member)  # makes values of ints; the values themselves are in the class around it
    if isinstance(member, type):
        return wrapperClassOf(member) if issubclass(member, shiboken6.Shiboken.Object) else None
    if isinstance(member, int):  # a value of an enum
        return member
    return Call(member, name) if callable(member) else None


#
# Wrappers
#


class WrapperClass(type):
    """The class of the wrapper classes. As in PythonQt these do not inherit from each other."""

    def __new__(mcs, name, bases, namespace, nativeClass=None):
        cls = super().__new__(mcs, name, bases, namespace)
        cls.isDerived = nativeClass is None
        base = bases[0].nativeClass if bases else None
        cls.nativeClass = nativeClass or (base and _shellClass(cls, _cppClass(base)))
        return cls

    def __init__(cls, name, bases, namespace, nativeClass=None):
        super().__init__(name, bases, namespace)

    def __getattr__(cls, name):
        member = None
        if cls.nativeClass is not None and not name.startswith("_"):
            if name == "connect" and issubclass(cls.nativeClass, QtCore.QObject):
                return ObjectWrapper.connect
            member = next(
                (replacedFunctions[c, name] for c in cls.nativeClass.__mro__ if (c, name) in replacedFunctions), None
            )
            member = member or _shown(getattr(cls.nativeClass, RENAMED.get(name, name), None), f"{cls.__name__}.{name}")
        if member is None:
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        return member


class Wrapper(metaclass=WrapperClass):
    """A wrapped C++ value; its attributes are the methods of its class."""

    def __init__(self, *args):
        cls = type(self)
        try:
            native = cls.nativeClass(*[unwrap(arg) for arg in args])
        except TypeError as error:
            raise ValueError(f"Could not find matching overload for given arguments: {cls.__name__}{args}") from error
        _bind(self, native)
        if cls.isDerived:
            # An event filter that nobody holds is gone at once; a widget stays with its Python half.
            native._shell = (lambda: self) if isinstance(native, QtWidgets.QWidget) else weakref.ref(self)
        if isinstance(native, QtCore.QObject) and (
            native.parent() is not None if cls.isDerived else not _isQt(type(native))
        ):
            keep(native)

    def __getattr__(self, name):
        member = None if name.startswith("_") else getattr(self._checked(), RENAMED.get(name, name), None)
        if (shown := _shown(member, f"{type(self).__name__}.{name}")) is None:
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        return shown

    def __setattr__(self, name, value):
        if not type(self).isDerived:
            cls = type(self).__name__
            raise AttributeError(f"'{name}' does not exist on {cls} and attributes cannot be added to C++ objects")
        object.__setattr__(self, name, value)

    def __bool__(self):
        return shiboken6.isValid(self._native)

    def __eq__(self, other):
        return isinstance(other, Wrapper) and self._native == other._native

    def __hash__(self):
        return hash(self._native)

    def _checked(self):
        """The PySide object."""
        native = self.__dict__.get("_native")
        if native is None:
            raise ValueError(f"The constructor of {type(self).__name__} has not been called")
        if not shiboken6.isValid(native):
            raise ValueError(f"Trying to use a destroyed {type(self).__name__} object")
        return native

    def className(self) -> str:
        return _cppClass(type(self._native)).__name__


class ObjectWrapper(Wrapper):
    """A wrapped QObject."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        native = self._checked()
        meta = type(native).staticMetaObject
        index = _propertyIndex(meta, name)
        if index >= 0:
            return wrap(readProperty(native, meta.property(index)))
        if any(signal.name == name for signal in signalsOf(native)):
            return BoundSignal(native, name)
        if (member := _objectMember(native, RENAMED.get(name, name))) is not None:
            return member
        if (value := native.property(name)) is not None:
            return wrap(value)
        for child in native.children():
            if child.objectName() == name:
                return wrap(child)
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def __setattr__(self, name, value):
        if "_native" not in self.__dict__:
            return object.__setattr__(self, name, value)
        native = self._checked()
        meta = type(native).staticMetaObject
        index = _propertyIndex(meta, name)
        if index >= 0:
            return writeProperty(native, meta.property(index), unwrap(value))
        if any(signal.name == name for signal in signalsOf(native)):
            raise AttributeError(f"Signal '{name}' can not be overwritten on {type(self).__name__} object")
        if not type(self).isDerived and (hasattr(ObjectWrapper, name) or _objectMember(native, name) is not None):
            raise AttributeError(f"Slot '{name}' can not be overwritten on {type(self).__name__} object")
        if name in [bytes(known).decode() for known in native.dynamicPropertyNames()]:
            native.setProperty(name, unwrap(value))
            return None
        return Wrapper.__setattr__(self, name, value)

    def connect(self, signal: str, receiver, slot: str | None = None) -> bool:
        """connect("signal(types)", function) or connect("signal(types)", receiver, "slot(types)")."""
        known = findSignal(self._checked(), signal)
        if known is None:
            records.problem(f"{self.className()} has no signal {signal}: the slot would never be called")
            return False
        _connect(self._native, known, _receiver(receiver, slot))
        return True

    def disconnect(self, signal: str, receiver=None, slot: str | None = None) -> bool:
        known = findSignal(self._checked(), signal)
        if known is None:
            records.problem(f"{self.className()} has no signal {signal} to disconnect")
            return False
        return _disconnect(self._native, known, _receiver(receiver, slot))

    def findChildren(self, kind, name: str | None = None) -> tuple:
        """Children and their children by class name ("ctkCollapsibleButton") or class (qt.QWidget)."""
        if isinstance(kind, str):
            found = [child for child in self._checked().findChildren(QtCore.QObject) if _inherits(child, kind)]
        else:
            found = self._checked().findChildren(kind.nativeClass)
        return tuple(wrap(child) for child in found if name in (None, child.objectName()))

    def findChild(self, kind, name: str | None = None):
        return next(iter(self.findChildren(kind, name)), None)

    def inherits(self, className: str) -> bool:
        return _inherits(self._checked(), className)

    def delete(self) -> None:
        shiboken6.delete(self._checked())


def _propertyIndex(meta, name: str) -> int:
    """Index of a property, -1 without it; objects that have no property "name" are called by that of their object."""
    index = meta.indexOfProperty(name)
    return meta.indexOfProperty("objectName") if index < 0 and name == "name" else index


def _inherits(native, className: str) -> bool:
    return any(base.__name__ == className for base in type(native).__mro__)


def _isQt(cls: type) -> bool:
    return cls.__module__.startswith("PySide6.")


def _cppClass(cls: type) -> type:
    """The C++ class under classes that were derived in Python."""
    return next(base for base in cls.__mro__ if "_isShell" not in base.__dict__)


def wrapperClassOf(nativeClass: type) -> type:
    nativeClass = _cppClass(nativeClass)
    if nativeClass not in _wrapperClasses:
        base = ObjectWrapper if issubclass(nativeClass, QtCore.QObject) else Wrapper
        _wrapperClasses[nativeClass] = WrapperClass(nativeClass.__name__, (base,), {}, nativeClass=nativeClass)
    return _wrapperClasses[nativeClass]


def _shellClass(cls: type, base: type) -> type:
    """Class of PySide whose virtual methods call those of `cls`, which is derived from the wrapper of `base`."""
    derived = itertools.takewhile(lambda c: c.isDerived, cls.__mro__)
    names = {name for c in derived for name in vars(c) if not name.startswith("_")}
    overrides = {name: _virtual(base, name) for name in names if callable(getattr(base, name, None))}
    return type(base)(cls.__name__, (base,), {"_isShell": True, "_shell": None, **overrides})


def _virtual(base: type, name: str):
    def method(self, *args):
        shell = _shellOf(self)  # none when Qt calls from its constructors
        if shell is not None:
            try:
                return unwrap(getattr(shell, name)(*[wrap(arg) for arg in args]))
            except Exception:
                records.slotError()
        return getattr(base, name)(self, *args)

    return method


def _objectMember(native, name: str):
    """Method or enum of a QObject or None. Of classes that are not Qt's own Python sees slots only."""
    classes = [cls for cls in type(native).__mro__ if "_isShell" not in cls.__dict__]
    shownName = f"{classes[0].__name__}.{name}"
    for cls in classes:
        if (cls, name) in replacedMethods:
            return Call(functools.partial(replacedMethods[cls, name], native), shownName)
    for cls in classes:
        if _isQt(cls):
            member = getattr(cls, name, None)
            return _shown(
                getattr(native, name) if callable(member) and not isinstance(member, type) else member, shownName
            )
        if issubclass(cls, QtCore.QObject) and name in _slotNames(cls):
            return Call(getattr(native, name), shownName)
    return None


@functools.cache  # PySide may delete its QMetaObject of a Python class together with the first object
def _slotNames(cls: type) -> set[str]:
    meta = cls.staticMetaObject
    methods = [meta.method(index) for index in range(meta.methodOffset(), meta.methodCount())]
    return {bytes(m.name()).decode() for m in methods if m.methodType() == QtCore.QMetaMethod.Slot}


#
# Connections
#


class BoundSignal:
    """A signal of an object: widget.toggled.connect(function). The first overload counts."""

    def __init__(self, native, name: str):
        self._native, self._signal = native, next(signal for signal in signalsOf(native) if signal.name == name)

    def connect(self, receiver) -> bool:
        _connect(self._native, self._signal, _receiver(receiver, None))
        return True

    def disconnect(self, receiver=None) -> bool:
        return _disconnect(self._native, self._signal, receiver)

    def emit(self, *args) -> None:
        getattr(self._native, self._signal.name).emit(*[unwrap(arg) for arg in args])

    __call__ = emit


def _receiver(receiver, slot: str | None):
    if slot is not None:
        receiver = getattr(receiver, slot.lstrip("12").partition("(")[0])
    if receiver is not None and not callable(receiver):
        raise TypeError(f"{receiver!r} can not be called")
    return receiver


def _connect(native, signal, receiver) -> None:
    def slot(*args):
        records.callSlot(receiver, [wrap(arg) for arg in args])

    address = _address(native)
    if address not in _connections:
        _connections[address] = []
        native.destroyed.connect(lambda *_: _connections.pop(address, None))
    _connections[address].append((signal, receiver, slot))
    QtCore.QObject.connect(native, f"2{signal.native}", slot)


def _disconnect(native, signal, receiver) -> bool:
    known = _connections.get(_address(native), [])
    found = [entry for entry in known if entry[0] == signal and receiver in (None, entry[1])]
    for entry in found:
        known.remove(entry)
        QtCore.QObject.disconnect(native, f"2{signal.native}", entry[2])
    return bool(found)
