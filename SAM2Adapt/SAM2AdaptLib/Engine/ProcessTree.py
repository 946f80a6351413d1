"""Ends a process with everything it started.

Slicer's Python is a launcher: a signal to it alone leaves the real Python running, with the graphics memory it holds.
"""

import os
import signal
import subprocess
from pathlib import Path


def killTree(pid, group=None):
    """Kill a process, its descendants and, on POSIX, a process group. Processes that are gone already are no error.

    :param pid: a child of this process that has not been waited for, so that the number is still its own, or None.
    :param group: number of a process group that belongs to it; its members may have lost their parents.
    """
    if os.name == "nt":
        if pid:
            _killTreeOnWindows(pid)
        return
    stopped = set()
    # Stopped first: a process that is killed before its children are listed takes the way to them along.
    while pid and (running := descendants(pid) - stopped):
        for number in running:
            _send(os.kill, number, signal.SIGSTOP)
        stopped |= running
    for number in stopped:
        _send(os.kill, number, signal.SIGKILL)
    if group:
        _send(os.killpg, group, signal.SIGKILL)


def descendants(pid):
    """Numbers of a process and of all that it started, directly or not (POSIX only).

    :param pid: number of a process.
    :return: set of process numbers, the given one among them.
    """
    children = {}
    for number, parent in _processes():
        children.setdefault(parent, []).append(number)
    numbers, pending = {pid}, [pid]
    while pending:
        new = children.get(pending.pop(), [])
        numbers.update(new)
        pending.extend(new)
    return numbers


def isGroupLeader(pid):
    """Whether a process leads a process group that is not ours, so that killing the group is safe (False on Windows).

    :param pid: number of a process.
    """
    try:
        return os.name != "nt" and os.getpgid(pid) == pid != os.getpgrp()
    except ProcessLookupError:
        return False


def _processes():
    """(number, number of the parent) of every process."""
    if os.path.exists("/proc/self/stat"):
        for folder in os.listdir("/proc"):
            if folder.isdigit():
                try:
                    text = Path("/proc", folder, "stat").read_text(encoding="utf-8", errors="replace")
                except (FileNotFoundError, ProcessLookupError):
                    continue  # ended since the folder was listed
                # "number (name) state parent ...", where the name may hold spaces and parentheses
                yield int(folder), int(text.rpartition(")")[2].split()[1])
    else:
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, encoding="utf-8", check=True)
        for line in listing.stdout.splitlines():
            number, parent = line.split()
            yield int(number), int(parent)


def _send(send, number, which):
    try:
        send(number, which)
    except (ProcessLookupError, PermissionError):
        pass  # gone; macOS refuses a group of which only unburied members are left


def _killTreeOnWindows(pid):
    subprocess.Popen(
        ["taskkill", "/F", "/T", "/PID", str(pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        creationflags=subprocess.CREATE_NO_WINDOW,
    )
