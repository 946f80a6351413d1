"""What a run has reached and what it tells about itself."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from ..shared.files import atomic_write


@dataclass
class Progress:
    """State of a run, as told to whoever watches.

    While the method prepares its modules, the epoch is 0, there is no loss, and ``prepared`` is the share that is done.
    ``dice`` is the best mean so far, ``scores`` are the latest validation's: ``{"mean": Dice, "<class>": Dice}``.

    :param stage: ``preparing``, ``training``, ``validating`` or ``paused``.
    :param preview: in the first report after it was written: file with a validation case's labels, and the case's id.
    """

    fraction: float
    epoch: int
    epochs: int
    loss: float | None
    dice: float | None
    seconds: float
    prepared: float = 1.0
    scores: dict[str, float] = field(default_factory=dict)
    stage: str = "training"
    preview: tuple[Path, str] | None = None


@dataclass
class History:
    """What a run has reached; part of its checkpoint.

    :param before: Dice before the first step, as ``Progress.scores``; {} without validation.
    :param stale: validations since the last gain.
    :param setbacks: how often the loss was no number; ``rate``: factor of the learning rates that is left since then.
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


def dice_columns(scores: dict[str, float]) -> dict[str, float]:
    """Dice of each class and their mean, as a row of a history has them."""
    return {f"dice {name}": value for name, value in scores.items()}


def write_log(path: Path, history: History) -> None:
    """Write a row an epoch as CSV, epoch 0 being before the first step; a column that a row lacks stays empty.

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
