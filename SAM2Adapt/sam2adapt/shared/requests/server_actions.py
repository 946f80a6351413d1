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
class Correct(Request):
    """Correct a segment by points, scribbles and boxes, with the help of a model.

    The last gestures are carried out, one after the other; the voxels of the earlier ones stay as these wanted them.
    Without gestures, the engine prepares the slices of ``roi``, so that the first one is answered at once. What it
    computed of a volume is kept until another volume or model is sent; a volume counts as another when its file does.
    """

    input: dict[str, Any] = setting("image", only=SERVER)
    model: str | None = setting(
        "model", None, None, about="Name or file; null: grey levels and the segment alone decide", only=SERVER
    )
    structure: str = setting("text", None, about="Name of the structure; the model need not know it", only=SERVER)
    labels: Path | None = setting(
        "path",
        None,
        None,
        about=".npy: the segment in roi, (K, J, I) uint8, 0 or 1; needed with gestures",
        only=SERVER,
        reads=True,
    )
    roi: tuple[int, ...] | None = setting(
        "box", None, None, only=SERVER,
        about="i0, i1, j0, j1, k0, k1, ends excluded: the part that labels and masks hold, which is whole slices; null:"
        " the volume",
    )  # fmt: skip
    gestures: list[dict] = setting(
        "gestures", None, [], about="All those on the segment, the new ones last", only=SERVER
    )
    new: int = setting("integer", None, 1, about="How many of the gestures are new", minimum=1, only=SERVER)
    carry: int = setting(
        "integer", None, 0, about="To how many slices on either side the change is carried", minimum=0, only=SERVER
    )
    masks: Path | None = setting(
        "path", None, None, about=".npy to write, as labels; needed with gestures", only=SERVER
    )
    any_modality: bool = setting("switch", "Accept a volume of another modality than the model's", False, only=SERVER)
    device: str = setting("word", "auto, cpu, cuda, cuda:N or mps", "auto", only=SERVER)


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
