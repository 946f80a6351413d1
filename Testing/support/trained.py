"""A training small enough for tests: a tiny network on slices of discs, without files of volumes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from adapted import tiny_network
from sam2adapt import adapters
from sam2adapt.adapters import Method
from sam2adapt.training import samples
from sam2adapt.training.loop import Trainer
from sam2adapt.training.prepare import PreparedCase
from sam2adapt.training.settings import TrainSettings

CPU = torch.device("cpu")
FEWEST = 16  # samples of an epoch
STEPS = 4  # of an epoch
#: What a process of its own runs to have such epochs, and the command line with them.
SHORT_EPOCHS = f"from sam2adapt.training import samples\nsamples._FEWEST = {FEWEST}"
COMMAND = f"{SHORT_EPOCHS}\nimport sys\nfrom sam2adapt.cli.app import main\nsys.exit(main(sys.argv[1:]))"


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    """Six slices are shown three times an epoch, not 22 times; for files that import this."""
    monkeypatch.setattr(samples, "_FEWEST", FEWEST)


def discs(name: str = "discs", count: int = 6, side: int = 32, seed: int = 0) -> PreparedCase:
    """Slices of a bright disc (class 1) and a dark one (class 2) on noise."""
    generator = np.random.default_rng(seed)
    grey = generator.normal(0.5, 0.05, (count, 1, side, side))
    target = np.zeros((count, side, side), np.uint8)
    rows, columns = np.mgrid[:side, :side]
    for k in range(count):
        for value, level in ((1, 0.9), (2, 0.1)):
            row, column = generator.integers(8, side - 8, 2)
            disc = (rows - row) ** 2 + (columns - column) ** 2 < 36
            grey[k, 0, disc], target[k, disc] = level, value
    return PreparedCase(name, grey.clip(0, 1).astype(np.float16), target, list(range(count)), list(range(count)))


def small_trainer(folder: Path, method: Method | None = None, cases=None, settings=None, **watchers) -> Trainer:
    """A trainer whose every call begins from the same weights and takes the same steps."""
    method = method or adapters.create("head")
    folder.mkdir(exist_ok=True)
    settings = TrainSettings(**{"epochs": 3, "batch_size": 4} | (settings or {}))
    network = tiny_network(method, classes=3)
    return Trainer(network, cases or [discs()], method, settings, (32, 32), 1, folder, CPU, **watchers)


def assert_equal(own: dict, expected: dict) -> None:
    """Every tensor is the same, bit by bit."""
    assert own.keys() == expected.keys()
    assert [name for name in own if not torch.equal(own[name], expected[name])] == []
