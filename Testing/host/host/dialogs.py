"""Dialogs that would wait for a user: recorded, answered by the test or by what a user most often clicks."""

from PySide6 import QtCore, QtGui, QtWidgets

from . import records
from .pythonqt import replacedFunctions, replacedMethods, wrap

_AFFIRMATIVE = ("Ok", "Yes", "Save", "Open", "Apply", "Retry", "Ignore", "Close", "Cancel", "No")


def _execMessageBox(box: QtWidgets.QMessageBox):
    buttons = box.standardButtons()
    known = [getattr(QtWidgets.QMessageBox, name) for name in _AFFIRMATIVE]
    return records.ask(
        type(box).__name__,
        next((button for button in known if buttons & button), QtWidgets.QMessageBox.Ok),
        title=box.windowTitle().strip(),
        text=box.text(),
        informativeText=box.informativeText(),
        detailedText=box.detailedText(),
        buttons=buttons,
    )


def _execDialog(dialog: QtWidgets.QDialog) -> int:
    """Show the dialog for one round of events, so that it is laid out, then close it."""
    dialog.show()
    QtWidgets.QApplication.processEvents()
    labels = [label.text() for label in dialog.findChildren(QtWidgets.QLabel)]
    accepted = QtWidgets.QDialog.Accepted
    result = records.ask(
        type(dialog).__name__, accepted, title=dialog.windowTitle(), text="\n".join(labels), dialog=wrap(dialog)
    )
    dialog.done(int(result))
    return int(result)


def _execMenu(menu: QtWidgets.QMenu, *_position):
    texts = [action.text() for action in menu.actions()]
    chosen = records.ask("QMenu", None, title=menu.title(), text="\n".join(texts))
    return next((action for action in menu.actions() if action.text() == chosen), None)


def _asking(kind: str, default):
    """A static function that opens a dialog and, as in PythonQt, returns only the value."""
    return lambda parent=None, title="", text="", *rest: records.ask(kind, default, title=title, text=text, rest=rest)


def _singleShot(milliseconds: int, function) -> None:
    QtCore.QTimer.singleShot(milliseconds, lambda: records.callSlot(function, []))


def install() -> None:
    box = QtWidgets.QMessageBox
    replacedMethods[QtWidgets.QDialog, "exec"] = _execDialog
    replacedMethods[QtWidgets.QMenu, "exec"] = _execMenu
    replacedMethods[box, "exec"] = _execMessageBox
    results = {
        box: {"information": box.Ok, "warning": box.Ok, "critical": box.Ok, "question": box.Yes, "about": None},
        QtWidgets.QFileDialog: {
            "getOpenFileName": "",
            "getOpenFileNames": (),
            "getSaveFileName": "",
            "getExistingDirectory": "",
        },
        QtWidgets.QInputDialog: {"getText": "", "getItem": "", "getMultiLineText": "", "getInt": 0, "getDouble": 0.0},
    }
    for cls, functions in results.items():
        for name, default in functions.items():
            asking = _asking(f"{cls.__name__}.{name}", default)
            replacedFunctions[cls, name] = asking
            setattr(cls, name, staticmethod(asking))  # CTK's widgets of this host open them too
    replacedFunctions[QtCore.QTimer, "singleShot"] = _singleShot
    replacedFunctions[QtGui.QDesktopServices, "openUrl"] = lambda url: records.ask(
        "QDesktopServices.openUrl", True, title="", text=url.toString()
    )
