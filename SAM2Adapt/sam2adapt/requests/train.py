"""Carries out ``Train``: trains a model file, or only estimates the cost."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation.cases import Case, read_split
from ..imaging.terminology import Structure
from ..modelfiles.card import read_card
from ..modelfiles.case_names import with_names
from ..modelfiles.catalog import find_model
from ..shared import paths, presets
from ..shared.errors import ClassesError, InputFileError, OutputError
from ..shared.files import check_output
from ..shared.known_bases import NANO
from ..shared.requests.actions import FLIPS, Train
from ..shared.safety.private import temporary_folder
from .cases import find_cases_and_classes, ids_of

if TYPE_CHECKING:
    from ..training.loop import Progress
    from ..training.settings import TrainRequest, TrainSettings


def train(
    request: Train,
    progress: Callable[["Progress"], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
    control: Callable[[], str] | None = None,
) -> dict[str, Any]:
    """Train and write a model file, together with the other processes that torchrun started.

    :param progress, say, cancelled, control: see ``training.run.train``.
    :return: ``bundle``, the path of the model, which differs from the requested one if the model forgot too much and
        the request does not allow that; ``dice`` of each class and ``cases`` with theirs, measured on the validation
        cases (None without them); ``before``, the same Dice before the first step; ``former``, Dice ``before`` and
        ``after`` on the validation slices of the continued model, None if they are unknown; ``minutes``, ``epochs``,
        ``best_epoch``; ``processes``, None for one; ``card``, with the names of the cases, which the file does not
        hold.
    :raises UserError: as ``training.run.train``.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":  # several processes check together, later
        _check_files(request)

    from ..machine.exchange import on_every_rank, process_group
    from ..machine.team import Team
    from ..training import run

    with process_group(Team.from_environment()):
        plan = on_every_rank(lambda: plan_of(request, say))
        path = run.train(plan, progress, say, cancelled, control)
    card = with_names(read_card(path))
    training, metrics = card["training"], card["metrics"] or {}
    return {
        "bundle": path, "dice": metrics.get("dice"), "cases": metrics.get("cases"), "before": training["before"],
        "former": training.get("replay", {}).get("former"), "minutes": training["minutes"],
        "epochs": training["epochs"], "best_epoch": training["best_epoch"], "processes": training.get("processes"),
        "card": card,
    }  # fmt: skip


def estimate(
    request: Train,
    progress: Callable[["Progress"], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Estimate the cost of a training from a few real steps; nothing is kept.

    :return: ``seconds_per_step``, ``steps``, ``minutes``, ``memory_bytes`` (None if the system does not report it).
    :raises UserError: as ``training.run.train``.
    """
    with temporary_folder() as folder:
        trial = dataclasses.replace(request, output=folder / "estimate.safetensors", preview=None)
        _check_files(trial)
        from ..training.estimate import estimate as measure

        return dataclasses.asdict(measure(plan_of(trial, say), progress, say, cancelled))


def _check_files(request: Train) -> None:
    """Check files and folders before torch is imported."""
    if paths.exists(request.output.parent, OutputError):
        check_output(request.output)
    find_cases_and_classes(request, request.classes)
    if isinstance(request.split, Path):
        read_split(request.split)
    if isinstance(request.groups, Path):
        read_groups(request.groups)


def plan_of(request: Train, say: Callable[[str], None] = lambda text: None) -> "TrainRequest":
    """Turn a request into cases, classes, network and settings.

    :param say: called with sentences about cases and classes that are left out, and about decisions.
    :raises UserError: no cases, or classes or settings that do not fit together.
    """
    return plan_for(request, *find_cases_and_classes(request, request.classes, say))


def plan_for(request: Train, cases: list[Case], structures: list[Structure]) -> "TrainRequest":
    """As ``plan_of``, for known cases and classes.

    :raises ClassesError: there are no classes, or the request names others.
    """
    from ..training.settings import TrainRequest

    if not structures:
        raise ClassesError(
            "No classes are given.",
            "Give the label values and the names of the classes.",
            setting="classes",
            value="1=right ventricle,2=myocardium",
        )
    split = read_split(request.split) if isinstance(request.split, Path) else request.split
    if request.all_for_training:
        split = {"train": [case.id for case in cases], "val": []}
    network = _network(request)
    same = ("output", "name", "description", "license", "init", "resume", "device", "allow_forgetting", "preview",
            "keep_pieces")  # fmt: skip
    together = {"largest_together": ids_of(request.largest_together, structures)} if request.largest_together else {}
    return TrainRequest(
        cases=cases,
        structures=structures,
        **network,
        settings=_settings(request, network["base"]),
        split=split,
        groups=read_groups(request.groups) if isinstance(request.groups, Path) else request.groups,
        data=request.data_summary,
        postprocessing={
            **together,
            "largest_component": ids_of(request.largest_component, structures),
            "fill_holes": ids_of(request.fill_holes, structures),
            "minimum_ml": request.minimum_ml,
        },
        **{name: getattr(request, name) for name in same},
    )


def _settings(request: Train, base: str) -> "TrainSettings":
    from ..training.settings import TrainSettings, usual_rate

    names = {field.name for field in dataclasses.fields(TrainSettings)} & vars(request).keys()
    given = {name: getattr(request, name) for name in names}
    given["flips"] = [FLIPS.index(name) for name in request.flips]
    if request.learning_rate is None:
        given["learning_rate"] = usual_rate(base, continued=bool(request.init))
    if request.preset and request.size is None:
        given["size"] = presets.PRESETS[request.preset].size
    return TrainSettings(**given)


def _network(request: Train) -> dict[str, Any]:
    """Base, method and its settings: from ``preset`` or ``init``, changed by the other fields of the request."""
    if request.preset:
        preset = presets.PRESETS[request.preset]
        first = {
            "base": preset.base, "method": preset.method, "method_settings": preset.settings, "peg": presets.PEG_ADD,
            "train_upscaling": preset.train_upscaling,
        }  # fmt: skip
    elif request.init:
        first = _network_of(request.init)
    else:
        first = {"base": NANO, "method": presets.METHOD, "peg": presets.PEG_ADD}
    given = {name: getattr(request, name) for name in ("base", "method", "peg", "train_upscaling")}
    network = first | {name: value for name, value in given.items() if value is not None}
    kept = first.get("method_settings", {}) if network["method"] == first["method"] else {}
    return {**network, "method_settings": kept | request.settings}


def _network_of(model: str) -> dict[str, Any]:
    """Base, method and its settings of a model."""
    card = read_card(find_model(model))
    method, network = card["method"], card["network"]
    return {"base": card["base"]["id"], "method": method["name"], "method_settings": method["settings"], **network}


def read_groups(path: Path) -> dict[str, str]:
    """Read the groups of cases: ``{"case": "patient", ...}``.

    :raises InputFileError: the file cannot be read, or has another form.
    """
    try:
        groups = json.loads(paths.read_text(path))
    except ValueError as error:
        raise InputFileError(
            f"The groups '{path}' cannot be read: {error}.", "Check the file.", setting="groups"
        ) from error
    if not isinstance(groups, dict) or not all(isinstance(group, str) for group in groups.values()):
        raise InputFileError(f"The groups '{path}' are not a JSON object of names.", 'Write {"case": "patient", ...}.')
    return groups
