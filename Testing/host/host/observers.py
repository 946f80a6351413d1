"""Observers of VTK objects for widgets."""

import shiboken6
from PySide6 import QtCore


class Observers:
    """Observers of VTK objects that end with the widget."""

    def __init__(self, widget: QtCore.QObject):
        self._widget = widget
        self._tags: list[tuple] = []
        widget.destroyed.connect(lambda *_: self.clear())

    def add(self, observed, events, callback) -> None:
        def call(_caller, _event) -> None:
            if shiboken6.isValid(self._widget):
                callback()

        self._tags += [(observed, observed.AddObserver(event, call)) for event in events]

    def clear(self) -> None:
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._tags = []
