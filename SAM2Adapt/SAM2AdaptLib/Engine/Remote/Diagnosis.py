"""Why an engine on another computer does not answer, from what ssh or the command said before it ended."""

import re

from sam2adapt.shared.errors import RemoteError

_SHOWN = 300  # characters
_NO_COMMAND = 127  # what shells answer to a program that is not there
_KILLED_BY_US = -9


class LacksEngine(RemoteError):
    """There is nothing there that can be used, and what remedies it is to install the engine."""

    def __init__(self, message, program):
        remedy = "Its files were sent there. Type the line under “Engine on” in a shell of that computer."
        if program != "ssh":
            remedy = "Install it where the command runs; Resources/cluster/Containerfile shows how."
        super().__init__(message, remedy)


def notStarted(program, error):
    """The error of a program of this computer that cannot be started.

    :param error: OSError.
    """
    if program == "ssh":
        return RemoteError(
            "There is no ssh on this computer.",
            "Install OpenSSH's client (on Windows among the optional features), then try again.",
        )
    reason = error.strerror or error
    return RemoteError(f"'{program}' cannot be started: {reason}.", "Correct the command.", setting="engine_on")


def neverAnswered(program, status, words, noise):
    """The error of a command that ended before the engine's greeting.

    :param program: its first word.
    :param status: exit status of the command, None if it still runs.
    :param words: what it wrote to standard error.
    :param noise: bytes that it wrote to standard output.
    """
    text = words + "\n" + noise.decode(errors="replace")
    if program == "ssh" and (error := _ofSsh(words)):
        return error
    if '"jsonrpc"' in text and '"ready"' in text:
        return RemoteError(
            "The command starts an engine that has its files here.",
            "Add --stream after “sam2adapt serve”.",
            setting="engine_on",
        )
    if re.search(r"unrecognized arguments: --stream|invalid choice: 'serve'", text):
        return LacksEngine("The engine there is of another version, which cannot be used from here.", program)
    if missing := re.findall(r"No module named '?([\w.]+)", text):
        if missing[-1].partition(".")[0] == "sam2adapt":
            return LacksEngine("There is no engine there.", program)
        return LacksEngine(f"The engine there is not complete: its package '{missing[-1]}' is missing.", program)
    if status == _NO_COMMAND or re.search(r"not found|No such file", text):
        return LacksEngine("There is no engine there.", program)
    return RemoteError(f"The engine there did not start: {_last(words or text) or f'exit status {status}'}.", _again())


def lost(program, status, words, silence=None):
    """The error of a connection that ended after the greeting.

    :param silence: seconds without a sign of life, if that was the end.
    """
    if silence is not None:
        reason = f"nothing was heard for {silence:g} s"
    elif status == _KILLED_BY_US:
        reason = f"{program} was killed"
    else:
        reason = _last(words) or (f"exit status {status}" if status else "the engine there ended")
    return RemoteError(
        f"The connection to the engine was lost ({reason}).",
        "What ran there has ended, except trainings that go on without this computer. Check the network and try again.",
    )


def _ofSsh(words):
    """The error for what ssh says; None if that is about something else."""
    known = (
        (r"IDENTIFICATION HAS CHANGED", "The host's key is not the one that this computer knows.",
         "Someone may be listening, or the host was set up anew: ask its administrator before you change known_hosts."),
        (r"host key is known|Host key verification failed", "This computer does not know the host's key.",
         "Connect once in a terminal with ssh, and compare the fingerprint that it shows."),
        (r"Could not resolve hostname|Name or service not known", "There is no host of this name.",
         "Check its spelling, and the network."),
        (r"Permission denied|Too many authentication failures|no mutual signature", "The host refused the key.",
         "Put a key for it into ssh's agent or configuration, and its public part into the host's authorized_keys."),
        (r"Connection refused|timed out|No route to host|Network is unreachable|Connection closed by",
         "The host does not answer.", "Check that it runs, and that ssh reaches it in a terminal."),
        (r"Bad configuration option|Bad owner or permissions|terminating, \d+ bad", "ssh's configuration is refused.",
         "Correct it; in a terminal, ssh says what is wrong."),
    )  # fmt: skip
    for pattern, message, remedy in known:
        if re.search(pattern, words):
            text = f"{message[:-1]}: {_last(words)}." if _last(words) else message
            return RemoteError(text, remedy, setting="engine_on")
    return None


def _again():
    return "Try again; if it happens again, run the command in a terminal."


def _last(words):
    lines = [line.strip() for line in words.splitlines() if line.strip() and set(line.strip()) != {"@"}]
    return lines[-1].rstrip(".")[:_SHOWN] if lines else ""
