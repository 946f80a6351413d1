"""The state of a run and its files: the checkpoint to resume from, and ``log.csv`` with a row for each epoch.

A checkpoint is one file, which is replaced as a whole. It holds only tensors and plain values, so that reading it runs
no code, and later versions can read it even if classes have moved.
"""

import contextlib
import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from ..shared import paths
from ..shared.errors import ModelFileError, OutputError, SettingsError
from ..shared.files import atomic_write
from ..shared.safety.private import Claim, Lock, sweep
from .settings import TrainSettings

# In the run's folder: what it has reached, what it works with, the lock of the process that uses it, and the parts of
# the cases by name, as ``read_split`` takes them.
CHECKPOINT, PREPARED, FEATURES, LOCK, SPLIT = "checkpoint.pt", "prepared", "features", "lock", "split.json"
_FORMAT = 1  # of checkpoints; one without a number is of format 1
_PARTS = ("settings", "history", "network", "average", "best", "optimizer", "scaler")
_MAY_CHANGE = ("epochs", "steps", "max_minutes", "learning_rate", "base_learning_rate", "patience")


@dataclass
class History:
    """The state of a run; part of its checkpoint.

    :param before: Dice before the first step, as in ``Progress.scores``; {} without validation.
    :param stale: validations since the last improvement.
    :param setbacks: how often the loss diverged; ``rate``: factor of the learning rates, halved each time.
    """

    epoch: int = 0
    seconds: float = 0.0
    step: int = 0
    best_dice: float = -1.0
    best_epoch: int = 0
    stale: int = 0
    setbacks: int = 0
    rate: float = 1.0
    before: dict[str, float] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)

    def restore(self, state: dict) -> None:
        """Take over the history of a checkpoint, in this object, which others refer to."""
        vars(self).update(vars(History(**state)))


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Use a run's folder alone. However the block ends, the slices that it prepared are gone.

    What was computed of them may serve a run that is resumed, else the next start of SAM2Adapt removes it.

    :raises OutputError: another process uses the folder, or it cannot be written to.
    """
    lock = Lock(folder / LOCK)
    if not lock.held:
        raise OutputError(
            f"Another training writes into '{folder}'.", "Wait until it has ended, or choose another output."
        )
    prepared, features = Claim(folder / PREPARED), Claim(folder / FEATURES)
    sweep()
    try:
        yield
    finally:
        prepared.close()
        features.leave()
        lock.release(delete=True)


class Record:
    """The files of a run in its folder.

    :param say: called with a sentence if the log cannot be written, which does not end the run.
    """

    def __init__(self, folder: Path, settings: TrainSettings, history: History, say: Callable[[str], None]):
        self.folder, self.settings, self.history, self.say = folder, settings, history, say

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self.folder / CHECKPOINT

    def save(self, state: dict) -> None:
        """Write checkpoint and log.

        :param state: the parts of a checkpoint, except settings and history.
        :raises OutputError: the checkpoint cannot be written; the previous one is kept.
        """
        known = {"format": _FORMAT, "settings": self.settings.to_json(), "history": vars(self.history).copy()}
        save_checkpoint(self.checkpoint, known | state)
        try:
            write_log(self.folder / "log.csv", self.history)
        except OutputError as error:  # for example, because a spreadsheet program has it open
            self.say(f"{error} The training goes on, and the log is written again after the next epoch.")

    def load(self, trained: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> dict:
        """Read the checkpoint of a run with these settings, this network and this optimiser.

        :param trained: the trained tensors of the network; the checkpoint must have the same names and shapes.
        :raises ModelFileError: the checkpoint is missing, unreadable, or of another network or version.
        :raises SettingsError: the run was started with other settings.
        """
        state = load_checkpoint(self.checkpoint)
        if misfit := _version_misfit(state):
            raise self._refused(misfit)
        self._check_settings(state["settings"])
        if misfit := _network_misfit(state, trained, optimizer):
            raise self._refused(misfit)
        return state

    def _refused(self, misfit: str) -> ModelFileError:
        return ModelFileError(
            f"The checkpoint '{self.checkpoint}' cannot be resumed: {misfit}.",
            "Start a new training: do not resume.",
            setting="resume",
        )

    def _check_settings(self, former: dict) -> None:
        now = self.settings.to_json()
        changed = [name for name, value in former.items() if name not in _MAY_CHANGE and now.get(name) != value]
        if changed:
            raise SettingsError(
                f"The run to resume was started with another setting '{changed[0]}'"
                f" ({former[changed[0]]}, not {now.get(changed[0])}).",
                "Resume with the same settings, or start a new run.",
                setting=(changed[0], "resume"),
            )


def _version_misfit(state: object) -> str | None:
    """Why this version cannot read a checkpoint; None if it can."""
    if not isinstance(state, dict):
        return "it is not a checkpoint of a training"
    number = state.get("format", 1)
    if number != _FORMAT:
        return f"it has format {number}, and this version of SAM2Adapt reads format {_FORMAT}"
    if missing := [part for part in _PARTS if part not in state]:
        return f"it lacks '{missing[0]}', so another version of SAM2Adapt or another program wrote it"
    if unknown := sorted(state["history"].keys() - {entry.name for entry in fields(History)}):
        return f"its history holds '{unknown[0]}', which this version of SAM2Adapt does not know"
    return None


def _network_misfit(state: dict, trained: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> str | None:
    """Why a checkpoint does not belong to a network and its optimiser; None if it does."""
    for part in ("network", "average", "best"):
        shapes = {name: tuple(tensor.shape) for name, tensor in state[part].items()}
        expected = {name: tuple(tensor.shape) for name, tensor in trained.items()}
        wrong = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
        if wrong:
            return f"its tensors do not fit the network ({len(wrong)} of them, for example '{wrong[0]}')"
    former, now = state["optimizer"]["param_groups"], optimizer.state_dict()["param_groups"]
    if [len(group["params"]) for group in former] != [len(group["params"]) for group in now]:
        return "its optimiser trains other parameters"
    return None


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a checkpoint; if the process is killed or the disk is full, the previous one is kept.

    :raises OutputError: it cannot be written.
    """
    try:
        with atomic_write(path) as file:
            torch.save(state, file)
    except (OutputError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        message = f"The checkpoint '{path}' cannot be written: {error.__cause__ or error}."
        if not paths.exists(path):
            raise OutputError(message, "Free some disk space, then start the training again.") from error
        raise OutputError(
            message, "The previous checkpoint is kept: free some disk space, then resume.", setting="resume"
        ) from error


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint without running its code.

    :raises ModelFileError: it is missing or damaged, or holds more than tensors and plain values.
    """
    try:
        if paths.exists(path):
            paths.check_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"There is no checkpoint '{path}' to resume from.", "Start a new training: do not resume.", setting="resume"
        ) from error
    except Exception as error:  # torch.load raises half a dozen kinds for a damaged file
        raise ModelFileError(
            f"The checkpoint '{path}' cannot be read: {error}.",
            "Start a new training: do not resume.",
            setting="resume",
        ) from error


def dice_columns(scores: dict[str, float]) -> dict[str, float]:
    """Dice of each class and their mean, as columns of the history."""
    return {f"dice {name}": value for name, value in scores.items()}


def write_log(path: Path, history: History) -> None:
    """Write a CSV file with a row for each epoch; epoch 0 is before the first step. Missing columns stay empty.

    :raises OutputError: the file cannot be written.
    """
    start = [{"epoch": 0, **dice_columns(history.before)}] if history.before else []
    rows = start + history.rows
    names = list(dict.fromkeys(key for row in [*history.rows, *start] for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
