"""Checkpoints of a run: one file, replaced whole by atomic rename, read back without running code."""

from pathlib import Path

import torch

from ..shared import paths
from ..shared.errors import ModelFileError, OutputError
from ..shared.files import atomic_write

CHECKPOINT = "checkpoint.pt"  # in the run's folder


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a checkpoint so that a killed process or a full disk leaves the former one whole."""
    try:
        with atomic_write(path) as file:
            torch.save(state, file)
    except (OutputError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        message = f"The checkpoint '{path}' cannot be written: {error.__cause__ or error}."
        if not path.exists():
            raise OutputError(message, "Free some disk space, then start the training again.") from error
        raise OutputError(
            message, "The previous checkpoint is kept: free some disk space, then resume.", setting="resume"
        ) from error


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint of ours (tensors and plain values only)."""
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
