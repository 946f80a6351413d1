"""A whole training run: from folders of images and labels to a bundle."""

import math
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from .. import __version__, adapters
from ..bundle import read_bundle, validate_card, write_bundle
from ..catalog import find_model
from ..device import choose_device
from ..errors import OutputError, SettingsError, TrainingDataError
from ..evaluate import evaluate, mean_dice
from ..files import atomic_write
from ..model import Model, build_network
from ..network.base import STRIDE, ImagePath
from ..network.network import SegmentationNetwork, parameter_counts
from ..network.weights import load_base
from ..sizes import measure
from ..terminology import Structure
from .cases import Case, default_split, select
from .loop import Progress, Trainer, Watch
from .prepare import Fingerprint, fingerprint, prepare
from .settings import TrainSettings

_VALIDATION_SHARE = 0.2  # of a run's time, about


@dataclass
class TrainRequest:
    """What to train on what, and what to call it.

    :param preview: ``.npy`` file to write the first validation case's labels to, uint8 (K, J, I), at each validation.
    """

    cases: list[Case]
    output: Path
    structures: list[Structure]
    base: str = "nano"
    method: str = "dual-lw"
    method_settings: dict = field(default_factory=dict)
    settings: TrainSettings = field(default_factory=TrainSettings)
    split: dict[str, list[str]] | None = None
    name: str | None = None
    description: str = ""
    license: str = "unspecified"
    data: str = ""
    peg: str = "add"
    train_upscaling: bool | None = None
    postprocessing: dict = field(default_factory=dict)
    init: str | None = None
    resume: bool = False
    device: str = "auto"
    preview: Path | None = None

    @property
    def folder(self) -> Path:
        """Run folder beside the bundle: checkpoint, ``log.csv`` and, while it runs, the prepared slices."""
        return self.output.with_suffix(".run")


def train(
    request: TrainRequest,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
    control: Callable[[], str] | None = None,
) -> Path:
    """Train and write the bundle.

    :param say: is told in plain words what is being done.
    :param control: ``run``, ``pause`` or ``stop``, as ``Trainer`` has it.
    :return: the bundle's path.
    """
    _check_output(request)
    device, reason = choose_device(request.device)
    split = request.split or default_split(request.cases, request.settings.seed)
    parts = {part: select(request.cases, split, part) for part in ("train", "val")}
    if not parts["train"]:
        raise TrainingDataError("The split leaves no case to train on.", "Put at least one into its 'train' list.")
    base, identity = load_base(request.base)
    say(f"Reading {len(parts['train'])} training cases")
    found = fingerprint(parts["train"], request.structures, request.settings)
    if request.settings.validate_every is None:
        request.settings.validate_every = _validation_interval(parts, found)
    card = _card(request, found, identity, parts)
    torch.manual_seed(request.settings.seed)
    network, method = build_network(card, base)
    if request.init:
        _start_from(network, request, card)
    exported = measure(identity["id"], method, network.head.num_classes, **card["network"]).exported
    counts = parameter_counts(network) | {"exported": exported.parameters}
    say(f"{reason}; {counts['trained']:,} of {counts['total']:,} parameters are trained")
    prepared = prepare(parts["train"], request.structures, found.slices, request.folder / "prepared")
    model = Model(card, network, device)
    trainer = Trainer(
        network, prepared, method, request.settings, crop_size(request.settings, found, base), found.slices.context,
        request.folder, device, progress=progress, cancelled=cancelled, control=control, say=say,
    )  # fmt: skip
    if parts["val"]:
        trainer.validate = _validation(model, parts["val"], request.preview, trainer)
    if not (request.init or request.resume):
        trainer.prepare()
    best = trainer.run(request.resume)
    say(f"Best epoch: {trainer.history.best_epoch} of {trainer.history.epoch}")
    network.load_trained_state(best)
    if parts["val"]:
        say(f"Evaluating {len(parts['val'])} validation cases")
        card["metrics"] = {"subset": "val", **evaluate(model, parts["val"])}
    card["training"] |= {
        "minutes": round(trainer.history.seconds / 60, 2),
        "epochs": trainer.history.epoch,
        "best_epoch": trainer.history.best_epoch,
        "parameters": counts,
        "device": reason,
    }
    write_bundle(request.output, card, {name: t.detach().cpu().contiguous() for name, t in best.items()})
    shutil.rmtree(request.folder / "prepared", ignore_errors=True)
    return request.output


def _validation(model: Model, cases: list[Case], preview: Path | None, trainer: Trainer) -> Callable[[Watch], dict]:
    def observe(case: Case, labels: np.ndarray) -> None:
        if preview is not None and case is cases[0]:
            write_preview(preview, labels)
            trainer.preview = preview

    return lambda watch: mean_dice(model, cases, watch, observe)


def write_preview(path: Path, labels: np.ndarray) -> None:
    """Write labels (K, J, I) as uint8 ``.npy``, whole or not at all.

    :raises OutputError: the file cannot be written.
    """
    with atomic_write(path) as file:
        np.save(file, labels.astype(np.uint8, copy=False))


def _validation_interval(parts: dict[str, list[Case]], found: Fingerprint) -> int:
    """Epochs between validations that keep them to a fifth of the time, about."""
    slices = found.slices_per_case * len(parts["val"])
    # A slice costs about a third in validation of what it costs in training.
    return max(1, math.ceil(slices / 3 / (_VALIDATION_SHARE * found.slices_per_case * len(parts["train"]))))


def crop_size(settings: TrainSettings, found: Fingerprint, base: ImagePath) -> tuple[int, int]:
    """Rows and columns of the training crops: as large as the slices, up to what suits the network's windows."""
    if settings.crop:
        return settings.crop, settings.crop
    largest = base.config.window_multiple if base.config.window_multiple > STRIDE else 192
    return tuple(min(largest, math.ceil(n / STRIDE) * STRIDE) for n in found.median_size)


def _card(request: TrainRequest, found: Fingerprint, base: dict[str, str], parts: dict[str, list[Case]]) -> dict:
    upscaling = request.train_upscaling
    method = adapters.create(request.method, request.method_settings)
    request.settings.loss = request.settings.loss or method.loss_weights()
    card = {
        "format": "sam2adapt-bundle",
        "schema_version": 1,
        "name": request.name or request.output.stem,
        "version": "1.0.0",
        "description": request.description,
        "license": request.license,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parent": None,
        "method": {"name": request.method, "settings": method.settings()},
        "base": base,
        "classes": [structure.to_json() for structure in request.structures],
        "modality": found.modality,
        "slices": found.slices.to_card(),
        # Our nano base was never a promptable SAM: its upscaling has nothing to lose by being trained.
        "network": {"peg": request.peg, "train_upscaling": base["id"] == "nano" if upscaling is None else upscaling},
        "postprocessing": {"largest_component": [], "fill_holes": [], "minimum_ml": 0.0} | request.postprocessing,
        "training": {
            "data": {"summary": request.data, "voxels": {str(k): v for k, v in found.voxels.items()}},
            "split": {part: [case.id for case in cases] for part, cases in parts.items()},
            "seed": request.settings.seed,
            "settings": request.settings.to_json(),
            "software": {"sam2adapt": __version__, **{p: version(p) for p in ("torch", "sam2", "monai", "numpy")}},
            "minutes": None,
            "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        },
        "metrics": None,
    }
    validate_card(card)
    return card


def _start_from(network: SegmentationNetwork, request: TrainRequest, card: dict) -> None:
    """Start from another bundle's tensors; classes are matched by name, new ones begin as the background does."""
    parent = read_bundle(find_model(request.init))
    for key in ("base", "network"):
        if parent.card[key] != card[key]:
            raise SettingsError(
                f"Model '{parent.card['name']}' cannot be continued with another {key} ({parent.card[key]}).",
                f"Start with the same {key}.",
            )
    if parent.card["method"] != card["method"]:
        raise SettingsError(
            f"Model '{parent.card['name']}' was trained with method '{parent.card['method']['name']}' and its own"
            " settings.",
            "Continue it with the same method and settings.",
        )
    card["parent"] = parent.card["digest"]
    names = [None, *(entry["name"].lower() for entry in parent.card["classes"])]
    rows = [names.index(entry["name"].lower()) if entry["name"].lower() in names else 0 for entry in card["classes"]]
    tensors = {n: t[[0, *rows]] if n.startswith("head.") else t for n, t in parent.tensors.items()}
    network.load_trained_state(tensors)


def _check_output(request: TrainRequest) -> None:
    if request.output.suffix != ".safetensors":
        raise OutputError(f"'{request.output}' is not a name for a model file.", "End it with .safetensors.")
    try:
        request.folder.mkdir(parents=True, exist_ok=True)
        (request.folder / ".writable").touch()
        (request.folder / ".writable").unlink()
    except OSError as error:
        raise OutputError(
            f"The folder '{request.output.parent}' cannot be written to: {error.strerror}.", "Choose another folder."
        ) from error
