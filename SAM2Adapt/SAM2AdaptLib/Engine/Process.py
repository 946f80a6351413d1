"""Processes beside Slicer: the engine, and programs that write lines. Each can be killed with all that it started."""

import json
import logging
import os
import re
import signal
import sys
from pathlib import Path

import qt
from sam2adapt.shared import protocol
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProcessTree
from SAM2AdaptLib.Engine.Error import EngineError, remedyInPanel

ENGINE_FOLDER = str(Path(__file__).resolve().parents[2])  # holds sam2adapt, in the sources and where it is installed
PYTHON_VARIABLE = "SAM2ADAPT_ENGINE_PYTHON"

LAST_WORDS_LINES = 50
LAST_WORDS_BYTES = 50_000
DEATH_SECONDS = 2.0  # a killed process is gone within milliseconds, one that waits for a broken disk perhaps never

_alive = set()  # a QProcess that is destroyed before its process has ended blocks until it has


class _ChildProcess:
    """What both kinds of processes share: a QProcess that lives as long as its program, even after ``kill()``."""

    def __init__(self, command, environment):
        self._command = command
        self._isKilled = False
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(processEnvironment(environment))
        self._process.connect("readyReadStandardOutput()", self._onOutput)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)

    def _run(self):
        self._process.start(self._command[0], self._command[1:])

    def _onProcessError(self, error):
        if error == qt.QProcess.FailedToStart:
            self._onNotStarted()

    def _leave(self, tell):
        """The program has ended, or never ran: ``tell()`` unless it was killed."""
        _alive.discard(self)
        if not self._isKilled:
            tell()
        self._process.deleteLater()


class EngineProcess(_ChildProcess):
    """A process that speaks JSON-RPC 2.0, one message a line.

    :param command: list, the program and its arguments.
    :param environment: dict of variables that are added to those of Slicer.
    :param onMessage: called with (this, dict) for each message.
    :param onEnd: called with (this, EngineError) when the process has ended by itself or could not be started.

    Both are called from Qt signals, and onEnd possibly from inside ``start()``; none is called after ``kill()``.
    """

    def __init__(self, command, environment, onMessage, onEnd):
        super().__init__(command, environment)
        self.isReady = False
        self.facts = {}
        self._onMessage = onMessage
        self._onEnd = onEnd
        self._pid = None
        self._serverPid = None
        self._group = None
        self._output = bytearray()
        self._errors = b""
        self._told = None  # the error with which a relay says why there is no engine
        self._process.connect("readyReadStandardError()", self._onErrors)

    def start(self):
        """Start the process; the callbacks tell how it goes on."""
        _alive.add(self)
        self._run()
        self._pid = self._process.processId()

    def send(self, line):
        """Send one message; Qt keeps it until the process reads it.

        :param line: the message as text without line breaks.
        """
        self._process.write(line.encode() + b"\n")

    def kill(self):
        """Kill the process with all that it started; nothing is called from now on."""
        self._isKilled = True
        ProcessTree.killTree(self._pid, self._group)

    def processId(self):
        """Number of the engine's process, or of its launcher as long as the engine has not spoken."""
        return self._serverPid or self._pid

    def lastWords(self):
        """The last lines that the process wrote to its standard error."""
        lines = self._errors.decode(errors="replace").splitlines()
        return "\n".join(lines[-LAST_WORDS_LINES:])

    def _notStarted(self):
        return EngineError(
            "EngineMissing",
            _("The engine cannot be started: {program} does not run.").format(program=self._command[0]),
            _("Install the engine, then run again."),
            self._process.errorString(),
        )

    def _failure(self):
        return self._told or (not self.isReady and missingPackage(self.lastWords())) or self._stopped()

    def _stopped(self):
        code = self._process.exitCode()
        crashed = self._process.exitStatus() == qt.QProcess.CrashExit
        remedy = _("Run again; if it happens again, report it together with the details.")
        if not crashed:
            end = _("exit code {number}").format(number=code)
        elif os.name == "nt":
            end = _("crashed, code {number}").format(number=code)
        else:
            end = _("killed, signal {number}").format(number=code)
            if code == signal.SIGKILL:
                remedy = _("Memory may have run out: close other programs, or take a smaller region or model.")
        message = _("The engine stopped unexpectedly ({end}).").format(end=end)
        return EngineError("EngineStopped", message, remedy, self.lastWords())

    def _onOutput(self):
        data = self._process.readAllStandardOutput().data()
        self._output += data
        if b"\n" in data and not self._isKilled:
            *lines, self._output = self._output.split(b"\n")
            for line in lines:
                self._onLine(line.decode(errors="replace"))

    def _onLine(self, line):
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            logging.info("SAM2Adapt engine: %s", line)
            return
        if message.get("method") == protocol.FAILED:
            self._told = answeredError(message["params"])
            return
        if message.get("method") == "ready":
            self.facts = message["params"]
            self._onReady(message["params"]["pid"])
        self._onMessage(self, message)

    def _onReady(self, pid):
        """An engine behind a launcher reports its process ID; only descendants of this process are ever killed."""
        self.isReady = True
        self._serverPid = pid
        if ProcessTree.isGroupLeader(pid) and pid in ProcessTree.descendants(self._pid):
            self._group = pid

    def _onErrors(self):
        self._errors = (self._errors + self._process.readAllStandardError().data())[-LAST_WORDS_BYTES:]

    def _onFinished(self):
        self._onOutput()
        self._onErrors()
        self._pid = None  # the number may be another process's soon
        ProcessTree.killTree(None, self._group)  # what the engine started does not outlive it
        self._leave(lambda: self._tell(self._failure()))

    def _onNotStarted(self):
        self._leave(lambda: self._tell(self._notStarted()))

    def _tell(self, error):
        if self._output:
            logging.info("SAM2Adapt engine: %s", self._output.decode(errors="replace"))
        self._onEnd(self, error)


class LineProcess(_ChildProcess):
    """A program whose standard output and error are read as one stream of UTF-8 lines.

    :param command: list, the program and its arguments.
    :param environment: dict of variables that are added to those of the engine.
    :param onLine: called with (str) for each line; what a bar overwrites with a carriage return counts as a line.
    :param onEnd: called with (int) when it has ended by itself: its exit code, negative if it crashed or never ran.

    Both are called from Qt signals, never from ``start()``; none is called after ``kill()``.
    """

    def __init__(self, command, environment, onLine, onEnd):
        super().__init__(command, environment)
        self._onLine = onLine
        self._onEnd = onEnd
        self._rest = b""
        self._process.setProcessChannelMode(qt.QProcess.MergedChannels)

    def start(self):
        """Start the program; the callbacks tell how it goes on."""
        _alive.add(self)
        # Not now: a program that does not exist fails inside QProcess.start(), and would call back from in here.
        qt.QTimer.singleShot(0, lambda: None if self._isKilled else self._run())

    def kill(self):
        """Kill the program with all that it started; nothing is called from now on.

        :return: True, that it was stopped.
        """
        self._isKilled = True
        if self._process.state() == qt.QProcess.NotRunning:
            _alive.discard(self)
        else:
            ProcessTree.killTree(self._process.processId())
        return True

    def wait(self, seconds):
        """Wait for its end, without an event loop.

        :param seconds: how long at most.
        """
        self._process.waitForFinished(int(seconds * 1000))

    def _onOutput(self):
        data = self._rest + self._process.readAllStandardOutput().data()
        *lines, self._rest = data.replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._say(line)

    def _say(self, line):
        text = line.decode(errors="replace").rstrip()
        if text and not self._isKilled:
            self._onLine(text)

    def _onFinished(self):
        self._onOutput()
        self._say(self._rest)
        crashed = self._process.exitStatus() == qt.QProcess.CrashExit
        code = -abs(self._process.exitCode()) or -1 if crashed else self._process.exitCode()
        self._leave(lambda: self._onEnd(code))

    def _onNotStarted(self):
        self._say(self._process.errorString().encode())
        self._leave(lambda: self._onEnd(-1))


def waitForKilled():
    """Wait until all processes that were killed are gone, for a bounded time each."""
    for process in list(_alive):
        if process._isKilled:
            process._process.waitForFinished(int(DEATH_SECONDS * 1000))


def enginePython():
    """Path of the Python that runs the engine: that of Slicer, unless SAM2ADAPT_ENGINE_PYTHON names another."""
    return os.environ.get(PYTHON_VARIABLE) or sys.executable


def processEnvironment(additions):
    """Environment of the engine's process.

    :param additions: dict of variables that are put on top.
    :return: qt.QProcessEnvironment.
    """
    if os.environ.get(PYTHON_VARIABLE):
        import slicer

        # The paths of Slicer's own Python would break another one.
        environment = slicer.app.startupEnvironment()
    else:
        environment = qt.QProcessEnvironment.systemEnvironment()
    pythonPath = environment.value("PYTHONPATH")
    environment.insert("PYTHONPATH", os.pathsep.join([ENGINE_FOLDER, pythonPath] if pythonPath else [ENGINE_FOLDER]))
    environment.insert("PYTHONSAFEPATH", "1")  # no file in the folder that Slicer was started in is taken for a package
    environment.insert("PYTHONIOENCODING", "utf-8")
    environment.insert("PYTHONUNBUFFERED", "1")
    for name, value in additions.items():
        environment.insert(name, value)
    return environment


def answeredError(error):
    """The EngineError for the "error" of a JSON-RPC answer.

    :param error: dict with "code", "message" and the engine's "data".
    """
    data = error.get("data") or {}
    kind, details = data.get("kind", ""), data.get("traceback", "")
    if error["code"] == protocol.USER_ERROR:
        setting = data.get("setting", ())
        remedy = remedyInPanel(data.get("remedy", ""), setting)
        return EngineError(kind, error["message"], remedy, details, setting, data.get("value"))
    return missingPackage(f"{kind}: {error['message']}") or EngineError(
        "Defect",
        _("The engine failed: {reason}").format(reason=error["message"]),
        _("Please report it together with the details."),
        details,
    )


def missingPackage(text):
    """The EngineMissing error that a traceback stands for, or None if it is about something else.

    :param text: what Python wrote, or the message of an exception with its class name before it.
    """
    missing = re.findall(r"No module named '?([\w.]+)", text)
    broken = re.findall(r"^(?:ImportError: .+|OSError: .*\btorch\b.*|.*module 'torch' has no attribute.*)$", text, re.M)
    if missing:
        message = _("The engine is not installed: its Python package “{name}” is missing.").format(name=missing[-1])
    elif broken:
        message = _("The engine is installed but broken: {reason}.").format(reason=broken[-1].rstrip("."))
    else:
        return None
    return EngineError("EngineMissing", message, _("Install the engine, then run again."), text)
