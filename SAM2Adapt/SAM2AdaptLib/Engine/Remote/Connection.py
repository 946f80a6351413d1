"""The stream to an engine on another computer: a command of which standard input and output are the two ways."""

import contextlib
import os
import queue
import subprocess
import threading
import time
import traceback

from sam2adapt.shared import protocol
from sam2adapt.shared.errors import RemoteError, UserError
from sam2adapt.shared.stream import frames, sending

from SAM2AdaptLib.Engine.Remote import Diagnosis

_WORDS = 65536  # bytes of standard error that are kept
_LEFT = 2.0  # seconds for a command to say its last words


class Connection:
    """Starts the command and agrees on a version; ``onMessage`` and ``onLost`` are called from other threads.

    :ivar host: name of the computer, as it says.
    :ivar version: of the engine there.
    """

    def __init__(self, command, version, silence, environment, placeOfFile, onMessage, onLost):
        """
        :param command: list, program and arguments.
        :param version: of SAM2Adapt on this computer.
        :param silence: seconds after which a connection that is silent counts as lost.
        :param environment: dict, or None for the one of this process.
        :param placeOfFile: gives the path for a file that arrives, from its facts.
        :param onMessage: called with each message.
        :param onLost: called once with the RemoteError.
        """
        self.host = self.version = ""
        self._command, self._ownVersion, self._silence, self._environment = command, version, silence, environment
        self._onMessage, self._onLost = onMessage, onLost
        self._receiver = sending.Receiver(placeOfFile)
        self._reader = frames.FrameReader(lambda count: os.read(self._process.stdout.fileno(), count))
        self._writing, self._words = threading.Lock(), bytearray()
        self._process, self._isOver = None, False
        self._isGreeted = self._isSilent = self._isUnread = False

    def start(self):
        """Start the command; all else follows in threads.

        :raises RemoteError: the program cannot be started.
        """
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=self._environment, bufsize=0,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise Diagnosis.notStarted(self._command[0], error) from error
        for work in (self._listen, self._work):
            threading.Thread(target=work, daemon=True).start()

    def send(self, message):
        """Send a message."""
        self.write(frames.message(message))

    def write(self, data):
        """Write a frame; waits until there is room for it.

        :raises RemoteError: the connection is lost.
        """
        with self._writing:
            try:
                view = memoryview(data)
                while view:
                    view = view[self._process.stdin.write(view) :]
            except (OSError, ValueError) as error:
                self._isUnread = True
                raise RemoteError("The connection to the engine was lost.", "Try again.") from error

    def close(self):
        """End the command and with it the engine there; ``onLost`` is not called any more."""
        self._isOver = True
        if self._process:
            with contextlib.suppress(OSError):
                self._process.stdin.close()  # the engine there removes its files and ends
            self._isEnding()
            self._process.kill()

    def _listen(self):
        """Keep what the command writes to standard error, and pass it on for the log."""
        while data := os.read(self._process.stderr.fileno(), 4096):
            self._words = (self._words + data)[-_WORDS:]
            os.write(2, data)

    def _work(self):
        error = None
        try:
            if self._greet():
                for work in (self._sendLife, self._watchLife):
                    threading.Thread(target=work, daemon=True).start()
                self._readFrames()
        except frames.StreamError as damage:
            error = RemoteError(f"The connection was damaged: {damage}.", "Try again.")
        except UserError as failure:
            # If writing failed, the command has ended, and what it said tells why.
            error = None if self._isUnread else failure
        except OSError:
            pass
        except Exception as surprise:  # a message that no engine of ours sends; the thread must not end in silence
            traceback.print_exc()
            error = RemoteError(
                f"The engine there sent what cannot be understood ({type(surprise).__name__}: {surprise}).",
                "Update both sides, and try again.",
            )
        self._receiver.close()
        if not self._isOver:
            self._isOver = True
            self._onLost(error or self._reason())

    def _greet(self):
        """Take the greeting and answer it; False if there is none."""
        facts = self._reader.greeting()
        if facts is None:
            return False
        self.host, self.version = str(facts.get("host", "")), str(facts.get("version", ""))
        spoken = [version for version in protocol.VERSIONS if version in facts.get("protocols", ())]
        if not spoken:
            theirs = ", ".join(map(str, facts.get("protocols", ())))
            raise RemoteError(
                f"The engine there (version {self.version}) speaks protocol {theirs}, and this computer (version"
                f" {self._ownVersion}) speaks {protocol.VERSIONS[-1]}.",
                "Update the older one.",
            )
        self._isGreeted = True
        hello = {"protocol": max(spoken), "version": self._ownVersion, "silence": self._silence}
        self.send({"jsonrpc": "2.0", "method": protocol.HELLO, "params": hello})
        return True

    def _readFrames(self):
        while frame := self._reader.frame():
            kind, content = frame
            if kind == frames.PIECE:
                self._receiver.piece(content)
            elif kind == frames.MESSAGE:
                message = frames.parsed(content)
                if message.get("method") in (sending.FILE, sending.FILE_END, sending.FILE_ABORTED):
                    self._receiver.message(message["method"], message["params"])
                else:
                    self._onMessage(message)

    def _sendLife(self):
        try:
            while not self._isOver:
                time.sleep(self._silence / 4)
                self.write(frames.frame(frames.LIFE))
        except RemoteError:
            pass  # the reader notices, too

    def _watchLife(self):
        while not self._isOver:
            time.sleep(self._silence / 10)
            if self._reader.silence() > self._silence:
                self._isSilent = True
                self._process.kill()
                return

    def _isEnding(self):
        try:
            self._process.wait(_LEFT)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _reason(self):
        """Why the stream ended, once the command has had its last word."""
        if not self._isEnding():
            self._process.kill()
        time.sleep(0.05)  # for the thread that reads standard error
        words, program = self._words.decode(errors="replace"), os.path.basename(self._command[0])
        if not self._isGreeted:
            return Diagnosis.neverAnswered(program, self._process.poll(), words, self._reader.noise)
        return Diagnosis.lost(program, self._process.poll(), words, self._silence if self._isSilent else None)


class Answers:
    """Waits for the answers to the relay's own requests."""

    def __init__(self):
        self._waiting, self._count, self._lock = {}, 0, threading.Lock()

    def expect(self):
        """A new id, whose answer ``take`` will get."""
        with self._lock:
            self._count += 1
            number = f"relay-{self._count}"
            self._waiting[number] = queue.Queue()
            return number

    def take(self, message):
        """Take a message if it is an answer to one of them."""
        waiting = self._waiting.get(message.get("id")) if "method" not in message else None
        if waiting:
            waiting.put(message)
        return waiting is not None

    def wait(self, number):
        """The message that answers."""
        message = self._waiting[number].get()
        del self._waiting[number]
        return message
