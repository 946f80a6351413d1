"""Where the engine is: on this computer, on a host, or behind a command. A setting of the user, never of a scene.

Neither a scene, a model nor a file can change it: what it names is run.
"""

import json
import os
import shlex
import sys
from dataclasses import dataclass

from sam2adapt.shared.errors import RemoteError

from SAM2AdaptLib.Engine.Remote import Ssh

HERE, HOST, COMMAND = "here", "host", "command"
_KINDS = (HERE, HOST, COMMAND)
_KEY = "SAM2Adapt/EngineOn"
_RELAY = "SAM2AdaptLib.Engine.Remote.Relay"
#: Variables for what the relay starts, as JSON; null removes one.
STARTUP_VARIABLE = "SAM2ADAPT_STARTUP"
_OF_LIBRARIES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH")


@dataclass(frozen=True)
class Place:
    """A place of the engine.

    :ivar kind: HERE, HOST or COMMAND.
    :ivar text: "" for HERE, the host's name, or the command as one line.
    """

    kind: str = HERE
    text: str = ""

    @property
    def isElsewhere(self):
        """Whether files have to be sent there."""
        return self.kind != HERE

    def require(self):
        """Refuse what cannot be run.

        :raises RemoteError: the host is no host, or the command is empty or has an open quote.
        """
        if self.kind == HOST:
            Ssh.requireHost(self.text)
        elif self.kind == COMMAND:
            self._words()

    def command(self):
        """The program and arguments of the process that Slicer starts."""
        if not self.isElsewhere:
            from SAM2AdaptLib.Engine.Process import enginePython  # which needs Qt

            return [enginePython(), "-u", "-m", "sam2adapt", "serve"]
        relay = [sys.executable, "-u", "-m", _RELAY, "--place", self.text]
        if self.kind == HOST:
            return [*relay, f"--host={self.text}"]
        try:
            return [*relay, "--command", *self._words()]
        except RemoteError:
            return [*relay, "--command"]  # which says that there is none

    def environment(self):
        """Variables for that process: with what Slicer's own libraries must not reach."""
        import slicer

        if not self.isElsewhere or not hasattr(getattr(slicer, "app", None), "startupEnvironment"):
            return {}
        startup = slicer.app.startupEnvironment()
        values = {name: startup.value(name) or None for name in _OF_LIBRARIES}
        return {STARTUP_VARIABLE: json.dumps(values)}

    def _words(self):
        try:
            words = shlex.split(self.text, posix=os.name != "nt")
        except ValueError as error:
            raise RemoteError(f"The command cannot be understood: {error}.", "Close the quote.",
                              setting="engine_on") from error  # fmt: skip
        if not words:
            raise RemoteError("No command is given.", "Write the program that starts the engine.", setting="engine_on")
        if words[0].startswith("-"):
            raise RemoteError(f"'{words[0]}' is not a program.", "Begin with the program.", setting="engine_on")
        return words


def chosen():
    """The place that the user has chosen."""
    kind = _read("kind", HERE)
    return Place(kind, _read(kind, "")) if kind in _KINDS[1:] else Place()


def remembered(kind):
    """The host or command that the user chose last."""
    return _read(kind, "")


def choose(place):
    """Keep a choice for this user, for all scenes."""
    import qt

    settings = qt.QSettings()
    settings.setValue(f"{_KEY}/kind", place.kind)
    if place.isElsewhere:
        settings.setValue(f"{_KEY}/{place.kind}", place.text)


def _read(name, default):
    try:
        import qt  # late: jobs run without Qt, too, and then there are no settings
    except ImportError:
        return default
    value = qt.QSettings().value(f"{_KEY}/{name}")
    return default if value is None else str(value)
