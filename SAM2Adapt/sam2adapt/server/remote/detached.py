"""A training that goes on without the computer that started it: a process of its own, with a time limit.

    python -m sam2adapt.server.remote.detached RUN

It answers nobody: it writes its progress, sentences and answer into the folder of the training (``held/runs.py``), and
looks there for what to do. An engine that is connected follows it (``follow``).
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...shared import paths, protocol
from ...shared.errors import RemoteError, UserError
from ...shared.files import atomic_write, write_json
from ...shared.requests.actions import Train
from ...shared.safety import private
from ..held.runs import WORKING, HeldRun
from ..held.slots import take_slot
from ..messages import Answered, encode, error_of
from ..task import Task
from ..train_methods import train
from ..warm_models import WarmModels

_LOOK = 0.2  # seconds
_GRACE = 600.0  # seconds after the time limit, in which the model is written
_START = 60.0  # seconds until a process that was started has its lock
_CANCEL = "cancel"
_LONGEST_HOURS = 24 * 14


def start(run: HeldRun, params: dict[str, Any], hours: float) -> None:
    """Start the process of a training, which ends with neither its parent nor the connection.

    :raises RemoteError: it does not start.
    """
    write_json(run.folder / "request.json", {"params": params, "hours": min(hours, _LONGEST_HOURS)})
    with private.open_private(run.folder / "words.txt") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, run.id],
            stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True, cwd=run.folder,
        )  # fmt: skip
    # It takes its lock before anything else, and has an answer if it fails after that.
    end = time.monotonic() + _START
    while run.state() != WORKING and not paths.exists(run.folder / "answer.json"):
        if process.poll() is not None or time.monotonic() > end:
            raise RemoteError("The training could not be started there.", _last_words(run) or "Try again.")
        time.sleep(_LOOK / 4)


def follow(run: HeldRun, task: Task, notify: Callable[[dict[str, Any]], None]) -> Any:
    """Pass on what a training says, and to it what the client asks for; return its result.

    :param notify: sends a notification.
    :raises Answered: the training's own error.
    :raises RemoteError: its process died.
    """
    said, seen, asked = 0, None, protocol.RUN
    while True:
        state = run.state()  # before what it wrote, so that its last words are not missed
        if task.cancelled():
            run.control(_CANCEL)
        elif task.action != asked:
            asked = task.action
            run.control(asked)
        lines = _lines(run.folder / "said.jsonl")
        for line in lines[said:]:
            notify(_of(json.loads(line), task))
        said = len(lines)
        progress = run.read("progress.json")
        if progress and progress != seen:
            seen = progress
            notify(_of({"method": "progress", "params": progress}, task))
        if state != WORKING:
            break
        time.sleep(_LOOK)
    answer = run.read("answer.json")
    if answer is None:
        raise RemoteError("The training ended on the other computer without a result.",
                          _last_words(run) or "Resume it; if it happens again, ask the administrator.")  # fmt: skip
    if "error" in answer:
        raise Answered(answer["error"])
    return answer["result"]


def _of(message: dict[str, Any], task: Task) -> dict[str, Any]:
    """A notification of the training as one of the request that follows it."""
    return {**message, "params": {**message["params"], "id": task.id}}


def _lines(path: Path) -> list[str]:
    try:
        text = paths.read_text(path)
    except UserError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def _last_words(run: HeldRun) -> str:
    try:
        lines = paths.read_bytes(run.folder / "words.txt").decode("utf-8", "replace").strip().splitlines()
    except UserError:
        return ""
    return f"It said: {lines[-1][:200]}" if lines else ""


class _Notes:
    """Writes what a training says: the last progress, and all sentences and previews."""

    def __init__(self, folder: Path):
        self._folder, self._written = folder, 0.0

    def __call__(self, method: str, params: dict[str, Any]) -> None:
        if method == "progress" and not params.get("preview"):
            if time.monotonic() - self._written > _LOOK or params["fraction"] >= 1:
                self._written = time.monotonic()
                with atomic_write(self._folder / "progress.json", private.FILE_MODE) as file:
                    file.write(encode(params))
        else:
            with open(self._folder / "said.jsonl", "ab") as file:
                file.write(encode({"method": method, "params": params}))


def _obey(run: HeldRun, task: Task, hours: float) -> None:
    """Do what the control file says, and end at the time limit with what was reached."""
    end, last = time.monotonic() + 3600 * hours, None
    while True:
        if time.monotonic() > end + _GRACE:
            os._exit(0)
        content = run.read("control")
        if time.monotonic() > end:
            content = {"action": protocol.STOP}
        if content != last:
            last = content
            if content["action"] == _CANCEL:
                task.cancel()
            elif content["action"] in protocol.ACTIONS:
                task.action = content["action"]
        time.sleep(_LOOK)


def main(run_id: str) -> None:
    """Train, and write the answer."""
    os.umask(0o077)
    run = HeldRun(run_id)
    lock = run.lock()  # for which ``start`` looks again and again
    if not lock.held:
        sys.exit("Another process trains there.")
    request = run.read("request.json")
    task = Task(None, "train", request["params"], _Notes(run.folder))
    threading.Thread(target=_obey, args=(run, task, request["hours"]), name="obey", daemon=True).start()
    try:
        take_slot()
        answer = {"result": train(WarmModels(), Train.from_params(request["params"]), task)}
    except Exception as error:
        answer = {"error": error_of(error)}
    write_json(run.folder / "answer.json", json.loads(encode(answer)))
    os._exit(0)  # with it ends the lock


if __name__ == "__main__":
    main(sys.argv[1])
