"""Tools to write CTK's and Slicer's widgets as classes of PySide, of which wrappers show slots and properties only."""

from PySide6 import QtCore, QtWidgets

#: Name -> class of PySide. `ctk` and `slicer` show wrappers of these and no other widgets.
classes: dict[str, type] = {}


def emulated(cls: type) -> type:
    """Class decorator: Slicer has this class."""
    classes[cls.__name__] = cls
    return cls


def stored(name: str, typeName, default, changed: str | None = None) -> QtCore.Property:
    """A property that keeps what was written.

    :param changed: method without arguments that is called after each change.
    """

    def read(self):
        return self.__dict__.get(f"_{name}", default)

    def write(self, value) -> None:
        if value != read(self):
            self.__dict__[f"_{name}"] = value
            if changed is not None:
                getattr(self, changed)()

    return QtCore.Property(typeName, read, write)


def forwarded(name: str, typeName, inner: str) -> QtCore.Property:
    """A property that is one of the widget in attribute `inner`."""
    return QtCore.Property(
        typeName,
        lambda self: getattr(self, inner).property(name),
        lambda self, value: getattr(self, inner).setProperty(name, value),
    )


def row(parent: QtWidgets.QWidget, *widgets: QtWidgets.QWidget) -> None:
    """Lay widgets out side by side in a parent, the first one as wide as there is room."""
    layout = QtWidgets.QHBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget, int(widget is widgets[0]))
