"""Connectors between parameters and widgets that Slicer's parameter node wrapper has none for.

They are handed to ``connectParametersToGui`` ready-made. Registered for a whole widget type they would answer for the
panels of other modules too, and those of an earlier load would still answer after Reload.
"""

import qt
from slicer.parameterNodeWrapper import GuiConnector


class WidgetConnector(GuiConnector):
    """A connector for one widget; never looked up by type."""

    @staticmethod
    def canRepresent(widget, datatype):
        return False

    @staticmethod
    def create(widget, datatype):
        return None

    def __init__(self, widget, signal):
        """
        :param widget: the widget that shows the value.
        :param signal: normalized signature of the signal that tells of a change, for instance ``toggled(bool)``.
        """
        super().__init__()
        self._widget = widget
        self._signal = signal

    def _connect(self):
        self._widget.connect(self._signal, self.changed)

    def _disconnect(self):
        self._widget.disconnect(self._signal, self.changed)

    def widget(self):
        return self._widget


class CurrentItemConnector(WidgetConnector):
    """str: the user data of the current item of a QTreeWidget; a value that no item has selects none."""

    def __init__(self, tree):
        super().__init__(tree, "itemSelectionChanged()")

    def read(self):
        items = self._widget.selectedItems()
        return items[0].data(0, qt.Qt.UserRole) if items else ""

    def write(self, value):
        if value == self.read():
            return
        self._widget.clearSelection()
        for row in range(self._widget.topLevelItemCount):
            item = self._widget.topLevelItem(row)
            if item.data(0, qt.Qt.UserRole) == value:
                self._widget.setCurrentItem(item)


class UncheckedItemsConnector(WidgetConnector):
    """list[str]: the texts of the unchecked items of a QListWidget.

    Texts without an item stay in the value, so that going to another model and back loses nothing.
    """

    def __init__(self, listWidget):
        super().__init__(listWidget, "itemChanged(QListWidgetItem*)")
        self._value = []

    def _items(self):
        return [self._widget.item(row) for row in range(self._widget.count)]

    def read(self):
        checked = {item.text(): item.checkState() == qt.Qt.Checked for item in self._items()}
        withoutItem = [text for text in self._value if text not in checked]
        return [*withoutItem, *(text for text, isChecked in checked.items() if not isChecked)]

    def write(self, value):
        self._value = list(value)
        for item in self._items():
            item.setCheckState(qt.Qt.Unchecked if item.text() in self._value else qt.Qt.Checked)


class UserDataConnector(WidgetConnector):
    """str: the user data of the current item of a QComboBox; an unknown value is added as an item."""

    def __init__(self, comboBox):
        super().__init__(comboBox, "currentIndexChanged(int)")

    def read(self):
        return self._widget.currentData

    def write(self, value):
        if self._widget.findData(value) < 0:
            self._widget.addItem(value, value)
        self._widget.setCurrentIndex(self._widget.findData(value))
