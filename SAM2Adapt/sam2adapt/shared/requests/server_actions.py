"""The requests that only the engine server takes; see ``actions.py``, which has most others."""

# ruff: noqa: RUF009  # ``setting`` makes a field

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..protocol import ACTIONS
from .fields import SERVER, Request, setting


@dataclass(kw_only=True)
class ListDevices(Request):
    """List the devices of this machine."""


@dataclass(kw_only=True)
class WarmUp(Request):
    """Load what filling needs, so that the first filling does not wait for it."""


@dataclass(kw_only=True)
class TryModel(Request):
    """Try a model on three slices of a volume, to see whether it fits."""

    model: str = setting("model", about="Name or file", only=SERVER)
    input: dict[str, Any] = setting("image", only=SERVER)
    device: str = setting("word", "Where to compute", "auto", only=SERVER)


@dataclass(kw_only=True)
class MeasureCase(Request):
    """Measure a model on one image and its corrected labels."""

    model: str = setting("model", about="Name or file", only=SERVER)
    image: Path = setting("path", "Image file", only=SERVER, reads=True)
    labels: Path = setting(
        "path", "Label file that names its structures, .seg.nrrd for instance", only=SERVER, reads=True
    )
    device: str = setting("word", "Where to compute", "auto", only=SERVER)


@dataclass(kw_only=True)
class Shutdown(Request):
    """End the engine server."""


@dataclass(kw_only=True)
class SeriesFiles(Request):
    """List the files of a DICOM study of a batch, in the order of their positions."""

    input: Path = setting("path", "As in the manifest", only=SERVER, reads=True)
    series: str = setting("word", "As in the manifest", only=SERVER)


@dataclass(kw_only=True)
class ListTrainings(Request):
    """List the trainings that other computers started here and whose model was not fetched yet."""


@dataclass(kw_only=True)
class StopTraining(Request):
    """Stop a training that another computer started here and that goes on without it; its best epoch is kept."""

    run: str = setting("word", "As in the list", only=SERVER)


@dataclass(kw_only=True)
class ListKept(Request):
    """List what this computer keeps for others: training cases, models, trainings, and slices for continued models."""


@dataclass(kw_only=True)
class DeleteKept(Request):
    """Delete what this computer keeps for others, except what a training at work needs."""


@dataclass(kw_only=True)
class Cancel(Request):
    """Stop a request; it gets no result."""

    id: int | str = setting("id", only=SERVER)


@dataclass(kw_only=True)
class Control(Request):
    """Pause or resume a training, or stop it and keep its best epoch; stop a batch and keep what is done."""

    id: int | str = setting("id", only=SERVER)
    action: str = setting("text", only=SERVER, choices=ACTIONS)
