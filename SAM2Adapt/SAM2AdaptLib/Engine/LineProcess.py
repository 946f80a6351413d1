"""One program that runs beside the GUI: its output comes as lines, and it can be killed with all that it started."""

import qt

from SAM2AdaptLib.Engine import ProcessTree
from SAM2AdaptLib.Engine.Process import processEnvironment

_alive = set()  # a QProcess that is destroyed before its process has ended blocks until it has


class LineProcess:
    """A program whose standard output and error are read as one stream of UTF-8 lines.

    :param command: list, the program and its arguments.
    :param environment: dict of variables that are added to those of the engine.
    :param onLine: called with (str) for each line; what a bar overwrites with a carriage return counts as a line.
    :param onEnd: called with (int) when it has ended by itself: its exit code, negative if it crashed or never ran.

    Both are called from Qt signals, never from ``start()``; none is called after ``kill()``.
    """

    def __init__(self, command, environment, onLine, onEnd):
        self._command = command
        self._onLine = onLine
        self._onEnd = onEnd
        self._rest = b""
        self._isKilled = False
        self._process = qt.QProcess()
        self._process.setProcessChannelMode(qt.QProcess.MergedChannels)
        self._process.setProcessEnvironment(processEnvironment(environment))
        self._process.connect("readyReadStandardOutput()", self._onOutput)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)

    def start(self):
        """Start the program; what becomes of it is said by the callbacks."""
        _alive.add(self)
        # Not now: a program that does not exist fails inside start(), and nobody expects a callback from in here.
        qt.QTimer.singleShot(0, self._start)

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

    def _start(self):
        if not self._isKilled:
            self._process.start(self._command[0], self._command[1:])

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
        self._end(-abs(self._process.exitCode()) or -1 if crashed else self._process.exitCode())

    def _onProcessError(self, error):
        if error == qt.QProcess.FailedToStart:
            self._say(self._process.errorString().encode())
            self._end(-1)

    def _end(self, code):
        _alive.discard(self)
        if not self._isKilled:
            self._onEnd(code)
        self._process.deleteLater()
