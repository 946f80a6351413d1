"""The CTK widgets that the product's panels use, with the behaviour that Python code can see."""

import os

from PySide6 import QtCore, QtGui, QtWidgets

from .emulated import emulated, forwarded, row, stored
from .records import problem

_UNLIMITED = 16777215  #: QWIDGETSIZE_MAX, which PySide does not show


@emulated
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A heading that hides and shows what is in its layout; collapsed means not checked."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *args):
        texts = [arg for arg in args if isinstance(arg, str)]
        super().__init__(*[arg for arg in args if isinstance(arg, QtWidgets.QWidget)])
        self._shownChildren = set()  # of a collapsed button: what appears when it opens
        self.setText("".join(texts))
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._headingHeight(), 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(self._onToggled)

    def _isCollapsed(self) -> bool:
        return not self.isChecked()

    collapsed = QtCore.Property(
        bool, _isCollapsed, lambda self, value: self.setChecked(not value), notify=contentsCollapsed
    )
    flat = stored("flat", bool, False, "update")
    collapsedHeight = stored("collapsedHeight", int, 14, "updateGeometry")
    contentsFrameShape = stored("contentsFrameShape", QtWidgets.QFrame.Shape, QtWidgets.QFrame.NoFrame, "update")

    def _headingHeight(self) -> int:
        return self.fontMetrics().height() + 8

    def _onToggled(self, checked: bool) -> None:
        if checked:
            shown, self._shownChildren = self._shownChildren, set()
            for child in shown:
                child.setVisible(True)
        else:
            self._hideChildren()
        self.setMaximumHeight(_UNLIMITED if checked else self._headingHeight() + self.collapsedHeight)
        self.updateGeometry()
        self.contentsCollapsed.emit(not checked)

    def _hideChildren(self) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and not child.isHidden():
                self._shownChildren.add(child)
                child.hide()

    def childEvent(self, event) -> None:
        if event.added() and isinstance(event.child(), QtWidgets.QWidget):
            event.child().installEventFilter(self)

    def eventFilter(self, child, event) -> bool:
        if event.type() == QtCore.QEvent.ShowToParent and self._isCollapsed():
            self._shownChildren.add(child)
            child.hide()
        return False

    def showEvent(self, event) -> None:
        if self._isCollapsed():
            self._hideChildren()
        super().showEvent(event)

    def hitButton(self, position) -> bool:
        return position.y() < self._headingHeight()

    def minimumSizeHint(self) -> QtCore.QSize:
        closed = self._isCollapsed() or self.layout() is None
        inner = QtCore.QSize(0, 0) if closed else self.layout().totalMinimumSize()
        return inner.expandedTo(QtCore.QSize(60, self._headingHeight()))

    def sizeHint(self) -> QtCore.QSize:
        closed = self._isCollapsed() or self.layout() is None
        inner = QtCore.QSize(0, self.collapsedHeight if closed else 0) if closed else self.layout().totalSizeHint()
        width = self.fontMetrics().horizontalAdvance(self.text()) + 40
        return inner.expandedTo(QtCore.QSize(width, self._headingHeight()))

    def paintEvent(self, event) -> None:
        painter, style = QtWidgets.QStylePainter(self), QtWidgets.QStyle
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self._headingHeight())
        painter.drawControl(style.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, (self._headingHeight() - 10) // 2, 10, 10)
        opened = style.PE_IndicatorArrowRight if self._isCollapsed() else style.PE_IndicatorArrowDown
        painter.drawPrimitive(opened, arrow)
        textRect = option.rect.adjusted(22, 0, -2, 0)
        painter.drawText(textRect, QtCore.Qt.AlignVCenter | QtCore.Qt.TextShowMnemonic, self.text())


@emulated
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    def __init__(self, *args):
        super().__init__(*args)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._onToggled)

    collapsed = QtCore.Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))
    collapsedHeight = stored("collapsedHeight", int, 14)

    def _onToggled(self, checked: bool) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(checked)

    def showEvent(self, event) -> None:
        if not self.isChecked():
            self._onToggled(False)
        super().showEvent(event)


@emulated
class ctkSearchBox(QtWidgets.QLineEdit):
    """A line edit with icons; the icons are not drawn."""

    showSearchIcon = stored("showSearchIcon", bool, False)
    searchIcon = stored("searchIcon", QtGui.QIcon, QtGui.QIcon())
    clearIcon = stored("clearIcon", QtGui.QIcon, QtGui.QIcon())


@emulated
class ctkComboBox(QtWidgets.QComboBox):
    def _showDefaultText(self) -> None:
        self.setPlaceholderText(self.defaultText)

    defaultText = stored("defaultText", str, "", "_showDefaultText")
    defaultIcon = stored("defaultIcon", QtGui.QIcon, QtGui.QIcon())
    forceDefault = stored("forceDefault", bool, False)
    elideMode = stored("elideMode", QtCore.Qt.TextElideMode, QtCore.Qt.ElideNone)
    currentUserDataAsString = QtCore.Property(
        str,
        lambda self: "" if self.currentData() is None else str(self.currentData()),
        lambda self, text: self.setCurrentIndex(self.findData(text)),
    )

    @QtCore.Slot(str)
    def setCurrentUserDataAsString(self, text: str) -> None:
        self.setCurrentIndex(self.findData(text))


@emulated
class ctkCheckableComboBox(QtWidgets.QComboBox):
    """A combo box whose items have check marks."""

    checkedIndexesChanged = QtCore.Signal()

    def __init__(self, *args):
        super().__init__(*args)
        self.setModel(QtGui.QStandardItemModel(self))
        self.model().rowsInserted.connect(self._makeCheckable)
        self.model().itemChanged.connect(self.checkedIndexesChanged)

    def _makeCheckable(self, _parent, first: int, last: int) -> None:
        for number in range(first, last + 1):
            item = self.model().item(number)
            if item is not None and not item.isCheckable():
                item.setCheckable(True)
                item.setCheckState(QtCore.Qt.Unchecked)

    def _checked(self) -> list[QtCore.QModelIndex]:
        indexes = [self.model().index(number, 0) for number in range(self.count())]
        return [index for index in indexes if self.model().itemFromIndex(index).checkState() == QtCore.Qt.Checked]

    @QtCore.Slot(result=list)
    def checkedIndexes(self) -> list[QtCore.QModelIndex]:
        return self._checked()

    @QtCore.Slot(result=bool)
    def allChecked(self) -> bool:
        return len(self._checked()) == self.count()

    @QtCore.Slot(result=bool)
    def noneChecked(self) -> bool:
        return not self._checked()

    @QtCore.Slot(QtCore.QModelIndex, result=QtCore.Qt.CheckState)
    def checkState(self, index):
        return self.model().itemFromIndex(index).checkState()

    @QtCore.Slot(QtCore.QModelIndex, QtCore.Qt.CheckState)
    def setCheckState(self, index, state) -> None:
        self.model().itemFromIndex(index).setCheckState(QtCore.Qt.CheckState(state))

    @QtCore.Slot(result=QtCore.QAbstractItemModel)
    def checkableModel(self):
        return self.model()


class _Number(QtWidgets.QWidget):
    """A spin box with the properties that CTK's slider and spin box share."""

    valueChanged = QtCore.Signal(float)
    decimalsChanged = QtCore.Signal(int)

    def __init__(self, *args):
        super().__init__(*args)
        self._spinBox = QtWidgets.QDoubleSpinBox(self)
        self._spinBox.setRange(0, 99.99)
        self._spinBox.valueChanged.connect(self.valueChanged)

    def _setDecimals(self, decimals: int) -> None:
        self._spinBox.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    value = forwarded("value", float, "_spinBox")
    minimum = forwarded("minimum", float, "_spinBox")
    maximum = forwarded("maximum", float, "_spinBox")
    singleStep = forwarded("singleStep", float, "_spinBox")
    prefix = forwarded("prefix", str, "_spinBox")
    suffix = forwarded("suffix", str, "_spinBox")
    decimals = QtCore.Property(int, lambda self: self._spinBox.decimals(), _setDecimals)

    @QtCore.Slot(float)
    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)


@emulated
class ctkDoubleSpinBox(_Number):
    def __init__(self, *args):
        super().__init__(*args)
        row(self, self._spinBox)


@emulated
class ctkSliderWidget(_Number):
    """A slider next to a spin box; the slider has 1000 steps over the range."""

    def __init__(self, *args):
        super().__init__(*args)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._slider.setRange(0, 1000)
        row(self, self._slider, self._spinBox)
        self._slider.sliderMoved.connect(self._onSliderMoved)
        self._spinBox.valueChanged.connect(self._showOnSlider)

    def _onSliderMoved(self, step: int) -> None:
        span = self._spinBox.maximum() - self._spinBox.minimum()
        self._spinBox.setValue(self._spinBox.minimum() + span * step / 1000)

    def _showOnSlider(self, value: float) -> None:
        span = self._spinBox.maximum() - self._spinBox.minimum()
        self._slider.setValue(round(1000 * (value - self._spinBox.minimum()) / span) if span else 0)

    tracking = stored("tracking", bool, True)
    pageStep = stored("pageStep", float, 10.0)
    spinBoxVisible = QtCore.Property(
        bool, lambda self: not self._spinBox.isHidden(), lambda self, visible: self._spinBox.setVisible(visible)
    )

    @QtCore.Slot()
    def reset(self) -> None:
        self._spinBox.setValue(0)


@emulated
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with a button that opens a file dialog."""

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)

    AccessMask, AllDirs, AllEntries, CaseSensitive, Dirs, Drives, Executable, Files = 1008, 1024, 7, 2048, 1, 4, 64, 2
    Hidden, Modified, NoDot, NoDotAndDotDot, NoDotDot, NoFilter, NoSymLinks = 256, 128, 8192, 4096, 16384, -1, 8
    PermissionMask, Readable, System, TypeMask, Writable = 112, 16, 512, 15, 32

    def __init__(self, *args):
        super().__init__(*args)
        self._edit, self._button = QtWidgets.QLineEdit(self), QtWidgets.QToolButton(self)
        self._button.setText("...")
        row(self, self._edit, self._button)
        self._edit.textChanged.connect(self.currentPathChanged)
        self._button.clicked.connect(self.browse)

    currentPath = QtCore.Property(
        str, lambda self: self._edit.text(), lambda self, path: self._edit.setText(path), notify=currentPathChanged
    )
    filters = stored("filters", int, Files | 4 | Dirs)
    nameFilters = stored("nameFilters", "QStringList", [])
    label = stored("label", str, "")
    settingKey = stored("settingKey", str, "")
    showHistoryButton = stored("showHistoryButton", bool, True)
    showBrowseButton = QtCore.Property(
        bool, lambda self: not self._button.isHidden(), lambda self, visible: self._button.setVisible(visible)
    )

    @QtCore.Slot(str)
    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    @QtCore.Slot()
    def browse(self) -> None:
        dialog = QtWidgets.QFileDialog
        if not self.filters & self.Files:
            path = dialog.getExistingDirectory(self, "Select a directory...")
        elif self.filters & self.Writable:
            path = dialog.getSaveFileName(self, "Select a file to save")
        else:
            path = dialog.getOpenFileName(self, "Open a file")
        if path:
            self._edit.setText(path)

    @QtCore.Slot()
    def addCurrentPathToHistory(self) -> None:
        if not self.settingKey:
            problem("ctkPathLineEdit.addCurrentPathToHistory needs a settingKey")


@emulated
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button with the path of a folder that opens a folder dialog."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)

    def __init__(self, *args):
        super().__init__(*[arg for arg in args if isinstance(arg, QtWidgets.QWidget)])
        self._directory = next((arg for arg in args if isinstance(arg, str)), ".")
        self._button = QtWidgets.QPushButton(self)
        row(self, self._button)
        self._button.clicked.connect(self.browse)

    def _setDirectory(self, directory: str) -> None:
        changed = os.path.abspath(directory) != os.path.abspath(self._directory)
        self._directory = os.path.abspath(directory)
        self._button.setText(self.text or self._directory)
        self.directorySelected.emit(self._directory)
        if changed:
            self.directoryChanged.emit(self._directory)

    directory = QtCore.Property(str, lambda self: self._directory, _setDirectory, notify=directoryChanged)
    caption = stored("caption", str, "")
    text = stored("text", str, "")

    @QtCore.Slot(result=str)
    def browse(self) -> str:
        directory = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption)
        if directory:
            self._setDirectory(directory)
        return directory


@emulated
class ctkMessageBox(QtWidgets.QMessageBox):
    dontShowAgain = stored("dontShowAgain", bool, False)
    dontShowAgainVisible = stored("dontShowAgainVisible", bool, False)
    dontShowAgainSettingsKey = stored("dontShowAgainSettingsKey", str, "")


@emulated
class ctkMenuButton(QtWidgets.QPushButton):
    """A push button whose right part opens a menu."""
