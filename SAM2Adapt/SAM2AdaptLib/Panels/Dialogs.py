"""Dialogs: failures, and questions whose safe answer is the default."""

import logging

import qt
import slicer
from slicer.i18n import tr as _


def showError(error):
    """Show a failure: what is wrong, what to do, and the details folded away.

    Without a main window or in testing mode it is only logged.

    :param error: an ``EngineError``.
    """
    if error.details:
        logging.error(error.details)
    details = {"detailedText": error.details} if error.details else {}
    slicer.util.errorDisplay(error.message, informativeText=error.remedy, **details)


def confirm(text, explanation, action):
    """Ask before something is done; Escape, the window's X and Return mean no. In testing mode the answer is no.

    :param text: the question.
    :param explanation: what the answer depends on.
    :param action: text of the button that means yes.
    :return: True only if that button was pressed.
    """
    logging.info(f"{text} {explanation}")
    if slicer.app.testingEnabled():
        return False
    box = question(text, explanation, action)
    answer = box.exec_()
    # A closed box that is not deleted stays in the task bar of Windows.
    box.deleteLater()
    return answer == qt.QMessageBox.Yes


def question(text, explanation, action):
    """The message box of ``confirm``."""
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.windowTitle = _("SAM2Adapt")
    box.icon = qt.QMessageBox.Question
    box.text = text
    box.informativeText = explanation
    box.setStandardButtons(qt.QMessageBox.Yes | qt.QMessageBox.Cancel)
    box.button(qt.QMessageBox.Yes).text = action
    box.setDefaultButton(qt.QMessageBox.Cancel)
    box.setEscapeButton(qt.QMessageBox.Cancel)
    return box


def showText(title, text):
    """Show a longer text to read and copy."""
    if slicer.app.testingEnabled():
        logging.info(text)
        return
    dialog = qt.QDialog(slicer.util.mainWindow())
    dialog.windowTitle = title
    dialog.setLayout(qt.QVBoxLayout())
    edit = qt.QPlainTextEdit()
    edit.readOnly = True
    edit.plainText = text
    edit.lineWrapMode = qt.QPlainTextEdit.NoWrap
    edit.font = qt.QFontDatabase.systemFont(qt.QFontDatabase.FixedFont)
    buttons = qt.QDialogButtonBox(qt.QDialogButtonBox.Close)
    buttons.connect("rejected()", dialog.reject)
    dialog.layout().addWidget(edit)
    dialog.layout().addWidget(buttons)
    dialog.resize(720, 480)
    dialog.exec_()
    dialog.deleteLater()
