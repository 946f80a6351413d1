"""What Slicer prints and forgets, kept so that a test can fail on it; and the dialogs that nobody is there to close."""

import sys
import traceback
import types

import vtk

#: Tracebacks of exceptions that a slot, a virtual method or a VTK observer raised.
slotErrors: list[str] = []
#: Sentences about what Slicer would warn of on the console or take in silence: unknown signals, properties of a .ui …
problems: list[str] = []
#: One dict a dialog: "kind", "title", "text" …, "answer".
dialogs: list[dict] = []
#: Called with that dict; the first result that is not None becomes the answer.
answers: list = []


def problem(sentence: str) -> None:
    problems.append(sentence)
    print(f"host: {sentence}", file=sys.stderr)


def slotError() -> None:
    """Keep the exception that is being handled, as PythonQt prints it and carries on."""
    slotErrors.append(traceback.format_exc())
    traceback.print_exc()


def callSlot(receiver, args) -> None:
    """Call with as many arguments as a Python function takes; an exception goes no further, as in PythonQt."""
    function = getattr(receiver, "__func__", receiver)
    if isinstance(function, types.FunctionType) and not function.__code__.co_flags & 0x04:
        args = args[: max(0, function.__code__.co_argcount - isinstance(receiver, types.MethodType))]
    try:
        receiver(*args)
    except Exception:
        slotError()


def observerError(kind, value, trace) -> None:
    """For sys.excepthook, which VTK calls when a Python observer raises."""
    slotErrors.append("".join(traceback.format_exception(kind, value, trace)))
    sys.__excepthook__(kind, value, trace)


#: What Qt says of every window that is not on a screen.
_HARMLESS = ("This plugin does not support propagateSizeHints()",)


def listen() -> None:
    """Take what Qt and VTK would write to the console for problems, and exceptions in observers of VTK for errors."""
    from PySide6 import QtCore

    def onQtMessage(_type, _context, text: str) -> None:
        if text not in _HARMLESS:
            problem(f"Qt: {text}")

    @vtk.calldata_type(vtk.VTK_STRING)
    def onVtkMessage(_caller, _event, text: str) -> None:
        problem(f"VTK: {text.strip()}")

    sys.excepthook = observerError
    QtCore.qInstallMessageHandler(onQtMessage)
    for event in (vtk.vtkCommand.ErrorEvent, vtk.vtkCommand.WarningEvent):
        vtk.vtkOutputWindow.GetInstance().AddObserver(event, onVtkMessage)


def ask(kind: str, default, **info):
    """Record a dialog instead of showing it. Returns what the test answers, otherwise `default`."""
    dialog = {"kind": kind, **info}
    dialogs.append(dialog)
    replies = (answer(dialog) for answer in answers)
    dialog["answer"] = next((reply for reply in replies if reply is not None), default)
    return dialog["answer"]


def clear() -> None:
    for record in (slotErrors, problems, dialogs, answers):
        record.clear()
