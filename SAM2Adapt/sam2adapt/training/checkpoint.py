"""Checkpoints of a run: one file, replaced whole by atomic rename, read back without running code."""

import os
from pathlib import Path

import torch

from ..errors import ModelFileError, OutputError


def save_checkpoint(path: Path, state: dict) -> None:
    """Write a checkpoint so that a killed process or a full disk leaves the former one whole."""
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"The checkpoint '{path}' cannot be written: {error}.",
            "Free some disk space and go on with --resume; the former checkpoint is kept.",
        ) from error


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint of ours (tensors and plain values only)."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelFileError(
            f"There is no checkpoint '{path}' to resume from.", "Start the training without --resume."
        ) from error
    except Exception as error:  # torch.load raises half a dozen kinds for a damaged file
        raise ModelFileError(
            f"The checkpoint '{path}' cannot be read: {error}.", "Start the training without --resume."
        ) from error
