"""A whole training run, from folders of images and labels to a bundle."""

import contextlib
import json
import math
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import __version__, adapters
from ..adapters.sizes import measure
from ..evaluation.case_memory import CaseMemory
from ..evaluation.cases import Case
from ..evaluation.evaluate import evaluate, mean_dice
from ..machine import exchange
from ..machine.exchange import on_every_rank, on_rank_zero, training_device
from ..machine.team import Team
from ..modelfiles.bundle import validate_card, write_bundle
from ..modelfiles.card import FORMAT, check_model_name
from ..modelfiles.case_names import neutral, write_names
from ..network.base import STRIDE, ImagePath
from ..network.network import SegmentationNetwork, parameter_counts
from ..network.weights import load_base
from ..segmenting.model import Model, build_network
from ..shared import paths
from ..shared.errors import OutputError, UserError
from ..shared.files import atomic_write, check_output, megabytes, output_error
from ..shared.known_bases import NANO
from ..shared.protocol import FORGETTING
from ..shared.safetensors_header import SCHEMA_VERSION
from ..shared.safety.private import FILE_MODE
from .cleaning.choice import drop_pieces
from .clock import Watch
from .data import TrainingData, read_data
from .features import check_quick
from .loop import Progress, Trainer
from .parent import Parent, read_parent
from .prepare import Fingerprint, prepare
from .record import CHECKPOINT, FEATURES, PREPARED, SPLIT, alone_in
from .replay import Replay, as_cases, former_dice, gather, merged, write_replay
from .settings import TrainRequest, TrainSettings
from .split import only_slices, without_slices

_VALIDATION_SHARE = 0.2  # of a run's time, about


@dataclass
class Setup:
    """A run before its first step.

    :param replay: slices kept from the continued model; ``before``: its Dice on the validation slices among them.
    """

    request: TrainRequest
    card: dict
    model: Model
    trainer: Trainer
    data: TrainingData
    replay: Replay | None
    before: dict[str, float] | None


def train(
    request: TrainRequest,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
    control: Callable[[], str] | None = None,
) -> Path:
    """Train and write the bundle.

    :param say: called with sentences about what happens.
    :param control: returns ``run``, ``pause`` or ``stop``, see ``Monitor``.
    :return: path of the bundle: ``request.output``, or a file in the folder of the run if the model has lost more than
        ``protocol.FORGETTING`` of its parent's validation Dice and the request does not allow that.
    """
    team = Team.from_environment()
    with exchange.process_group(team), contextlib.ExitStack() as held:
        if exchange.rank():  # rank 0 talks to the user and decides for all
            progress, say, cancelled, control = None, lambda text: None, None, None
        on_rank_zero(lambda: _take_folder(request, held))
        request = replace(request, resume=on_rank_zero(lambda: _goes_on(request, team)))
        if team.restarts and request.resume:
            say("A process has ended and all were started again; continuing after the last complete epoch.")
        setup = set_up(request, progress, say, cancelled, control)
        if not (request.init or request.resume):
            setup.trainer.initialise()
        if not request.resume:
            setup.trainer.measure()
        best = setup.trainer.run(request.resume)
        return on_rank_zero(lambda: _finish(setup, best, say))


def _take_folder(request: TrainRequest, held: contextlib.ExitStack) -> None:
    _check_output(request)
    held.enter_context(alone_in(request.folder))


def _goes_on(request: TrainRequest, team: Team) -> bool:
    """Whether to resume: if the request says so, or if torchrun has restarted the processes."""
    checkpoint = request.folder / CHECKPOINT
    if team.restarts and paths.exists(checkpoint):
        return True
    if team.world_size > 1 and not request.resume:
        checkpoint.unlink(missing_ok=True)  # otherwise, a restart of this run would resume an earlier one
    return request.resume


def _finish(setup: Setup, best: dict[str, Tensor], say: Callable[[str], None]) -> Path:
    """Evaluate the best epoch and write the bundle; return its path, see ``train``."""
    request, trainer, card, data = setup.request, setup.trainer, setup.card, setup.data
    say(f"Best epoch: {trainer.history.best_epoch} of {trainer.history.epoch}")
    setup.model.network.load_trained_state(best)
    if not request.keep_pieces:
        judged, subset = (data.val, "val") if data.val else (data.train, "train")
        drop_pieces(setup.model, data.properties.pieces, judged, subset, data.held, say)
    if data.val:
        say(f"Evaluating {len(data.val)} validation case{'s' * (len(data.val) > 1)}")
        card["metrics"] = {"subset": "val", **evaluate(setup.model, data.val, slices=data.held)}
    forgot = _compare_with_parent(setup, say)
    card["training"] |= {
        "minutes": round(trainer.history.seconds / 60, 2),
        "epochs": trainer.history.epoch,
        "best_epoch": trainer.history.best_epoch,
        "before": trainer.history.before or None,
    }
    if exchange.world_size() > 1:
        sent = trainer.step.bytes_sent
        say(f"{exchange.world_size()} processes; each exchanged {megabytes(sent)} in every step")
        card["training"]["processes"] = {"count": exchange.world_size(), "bytes_per_step": sent}
    path = request.folder / request.output.name if forgot and not request.allow_forgetting else request.output
    card, names = neutral(card)
    written = write_bundle(path, card, {name: t.detach().cpu().contiguous() for name, t in best.items()})
    try:
        write_names(written["digest"], names)
        with atomic_write(request.folder / SPLIT, FILE_MODE) as file:
            file.write(json.dumps(setup.card["training"]["split"]).encode())
    except UserError as error:
        say(f"The model calls its cases by numbers, and which is which cannot be kept: {error}")
    if request.keep_slices:
        _keep_slices(setup, written["digest"], say)
    for leftover in (PREPARED, FEATURES):
        shutil.rmtree(request.folder / leftover, ignore_errors=True)
    return path


def set_up(
    request: TrainRequest,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
    control: Callable[[], str] | None = None,
) -> Setup:
    """Read and check everything that a run needs; see ``train`` for the parameters."""
    structures, settings = request.structures, request.settings
    on_rank_zero(lambda: _check_output(request))
    (device, reason), parent, (base, identity) = on_every_rank(
        lambda: (
            training_device(Team.from_environment(), request.device),
            read_parent(request.init, structures) if request.init else None,
            load_base(request.base),
        )
    )
    data = on_rank_zero(lambda: read_data(request, parent and parent.slices, say, parent and parent.modality))
    if settings.validate_every is None:
        settings.validate_every = _validation_interval(len(data.train), len(data.val), settings.quick)
    card = _card(request, data, identity)
    if parent:
        parent.pass_on_cleaning(card, structures, data.properties.pieces, request.keep_pieces, say)
    torch.manual_seed(settings.seed)
    network, method = build_network(card, base)
    network.to(device)
    replay, before = _start_from(parent, data.properties, network, card, device, say) if parent else (None, None)
    if settings.quick:
        check_quick(network, parent is not None, request.method)
    names = [structure.name for structure in structures]
    shown = without_slices(data.prepared, data.held or {}) + (as_cases(replay, names) if replay else [])
    trainer = Trainer(
        network, shown, method, settings, crop_size(settings, data.properties, base), data.properties.slices.context,
        request.folder, device, progress=progress, cancelled=cancelled, control=control, say=say,
    )  # fmt: skip
    model = Model(card, network, device)
    if data.val:
        trainer.validation.validate = _validation(model, data.val, data.held, request.preview, trainer)
    counts = _parameter_counts(card, trainer)
    card["training"] |= {"parameters": counts, "device": reason}
    say(f"{reason}; {counts['trained']:,} of {counts['total']:,} parameters are trained")
    return Setup(request, card, model, trainer, data, replay, before)


def _parameter_counts(card: dict, trainer: Trainer) -> dict[str, int]:
    """Parameters in all, those that are trained, and those of the exported form."""
    network = trainer.network
    exported = measure(card["base"]["id"], trainer.method, network.head.num_classes, **card["network"]).exported
    return parameter_counts(network) | {"trained": trainer.step.trained, "exported": exported.parameters}


def _start_from(
    parent: Parent,
    properties: Fingerprint,
    network: SegmentationNetwork,
    card: dict,
    device,
    say: Callable[[str], None],
) -> tuple[Replay | None, dict[str, float] | None]:
    """Load the parent's tensors; return the slices kept of its training, and its Dice on those kept for validation."""
    parent.check_modality(properties)
    parent.start(network, card)
    replay = on_rank_zero(parent.replay)
    return replay, on_rank_zero(lambda: _before(parent, replay, network, card, device, say))


def _before(
    parent: Parent, replay: Replay | None, network: SegmentationNetwork, card: dict, device, say: Callable[[str], None]
) -> dict[str, float] | None:
    if not parent.continued:
        say(f"Model '{parent.name}' has none of the classes: it is only a start for the new model.")
    elif replay is None:
        say(
            f"This machine has no slices from the training of model '{parent.name}', so it cannot measure whether the"
            " new model forgets something."
        )
    names = [entry["name"] for entry in card["classes"]]
    return former_dice(network, replay, names, device) if replay else None


def _compare_with_parent(setup: Setup, say: Callable[[str], None]) -> bool:
    """Measure on the slices of the parent, note this in the card, and return whether the model forgot too much."""
    if setup.replay is None:
        return False
    names, former = [entry["name"] for entry in setup.card["classes"]], None
    after = former_dice(setup.model.network, setup.replay, names, setup.model.device)
    if setup.before and after:
        former = {"before": setup.before["mean"], "after": after["mean"]}
        say(f"Dice on the former model's validation slices: {after['mean']:.4f}, before {setup.before['mean']:.4f}")
    slices = {name: sum(len(kept.grey) for kept in part) for name, part in vars(setup.replay).items()}
    setup.card["training"]["replay"] = {
        "slices": slices["train"], "validation_slices": slices["val"], "former": former,
    }  # fmt: skip
    return former is not None and former["before"] - former["after"] > FORGETTING


def _keep_slices(setup: Setup, digest: str, say: Callable[[str], None]) -> None:
    """Keep slices for the models that will continue this one; if that fails, the run still succeeds."""
    request = setup.request
    slices, seed, data = setup.model.slices, request.settings.seed, setup.data
    names = [structure.name for structure in request.structures]
    train, val = without_slices(data.prepared, data.held or {}), []
    try:
        if data.held:
            val = only_slices(data.prepared, data.held)
        elif data.val:
            val = prepare(data.val, request.structures, slices, request.folder / PREPARED / "val")
        new = Replay(
            gather(train, names, slices.context, seed), gather(val, names, slices.context, seed, validation=True)
        )
        write_replay(digest, merged(setup.replay, new, seed))
    except UserError as error:
        say(f"No slices are kept for models that continue this one: {error}")


def _validation(
    model: Model, cases: list[Case], held: dict[str, list[int]] | None, preview: Path | None, trainer: Trainer
) -> Callable[[Watch], dict]:
    def observe(case: Case, labels: np.ndarray) -> None:
        if preview is None or case is not cases[0]:
            return
        try:
            write_preview(preview, labels)
        except OutputError as error:  # on Windows, a file that is open for reading cannot be replaced
            trainer.record.say(f"The latest prediction is not shown. {error}")
        else:
            trainer.monitor.preview = preview, case.id

    load = CaseMemory()
    return lambda watch: mean_dice(model, cases, held, watch, observe, load)


def write_preview(path: Path, labels: np.ndarray) -> None:
    """Write labels (K, J, I) as uint8 ``.npy`` that only this user can read, by atomic rename.

    :raises OutputError: the file cannot be written.
    """
    with atomic_write(path, FILE_MODE) as file:
        np.save(file, labels.astype(np.uint8, copy=False))


def _validation_interval(train: int, val: int, quick: bool) -> int:
    """Epochs between validations, so that validation takes about a fifth of the time."""
    # To validate a slice takes a third of the time of a training step on it, or three times that of a quick one.
    return max(1, math.ceil(val * (3 if quick else 1 / 3) / (_VALIDATION_SHARE * train)))


def crop_size(settings: TrainSettings, properties: Fingerprint, base: ImagePath) -> tuple[int, int]:
    """Rows and columns of the training crops: those of the slices, up to a size that fits the network's windows."""
    if settings.crop:
        return settings.crop, settings.crop
    largest = base.config.window_multiple if base.config.window_multiple > STRIDE else 192
    return tuple(min(largest, math.ceil(n / STRIDE) * STRIDE) for n in properties.median_size)


def _card(request: TrainRequest, data: TrainingData, base: dict[str, str]) -> dict:
    properties, upscaling = data.properties, request.train_upscaling
    method = adapters.create(request.method, request.method_settings)
    request.settings.loss = request.settings.loss or method.loss_weights()
    card = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "name": request.name or request.output.stem,
        "version": "1.0.0",
        "description": request.description,
        "license": request.license,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parent": None,
        "method": {"name": request.method, "settings": method.settings()},
        "base": base,
        "classes": [structure.to_json() for structure in request.structures],
        "modality": properties.modality,
        "slices": properties.slices.to_card(),
        # The nano base was never a promptable SAM, so its upscaling can be trained without loss.
        "network": {"peg": request.peg, "train_upscaling": base["id"] == NANO if upscaling is None else upscaling},
        "postprocessing": {"largest_component": [], "fill_holes": [], "minimum_ml": 0.0} | request.postprocessing,
        "training": {
            "data": {"summary": request.data, "voxels": {str(k): v for k, v in properties.voxels.items()}},
            "split": data.split,
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


def _check_output(request: TrainRequest) -> None:
    check_model_name(request.output)
    try:
        request.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(request.folder, error) from error
    check_output(request.output)
    check_output(request.folder / CHECKPOINT)
