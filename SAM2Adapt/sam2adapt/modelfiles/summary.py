"""Describe weight files in lines of text: models, base files of SAM2Adapt, official checkpoints."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..shared.files import megabytes
from ..shared.known_bases import BaseInfo
from ..shared.presets import PEG_ADD, PEG_NONE, PEG_REPLACE
from ..shared.safety.texts import visible
from .card import TensorInfo

_INDENT = "  "
_LONGEST = 160


def describe_card(card: Mapping[str, Any], tensors: Mapping[str, TensorInfo], size: int | None = None) -> list[str]:
    """Describe a model; what its maker wrote cannot change how the lines are shown.

    :param card: see ``schemas/bundle.schema.json``.
    :param tensors: as ``card.read_header`` returns them.
    :param size: bytes of the file, if there is one.
    """
    base, method = card["base"], card["method"]
    lines = [
        f"{card['name']} {card['version']}",
        *card["description"].splitlines(),
        "",
        f"Modality:       {card['modality']}",
        f"Method:         {method['name']}{_settings(method['settings'])}",
        f"Base:           {base['id']} (SHA-256 {base['sha256']})",
        f"Slices:         {_slices(card['slices'])}",
        f"Grey levels:    {_normalization(card['slices']['normalization'])}",
        f"Network:        {_network(card['network'])}",
        f"Cleaning:       {cleaning_steps(card)}",
        f"Licence:        {card['license']}",
        f"Made:           {card['created']}",
        *([f"Continued from: {card['parent']}"] if card["parent"] else []),
        f"Size:           {_parameters(tensors)}{'' if size is None else f', {megabytes(size)}'}",
        *_forms(card["training"].get("parameters", {})),
        *([f"Digest:         {card['digest']}"] if "digest" in card else []),
        "",
        *_classes(card),
        "",
        *_metrics(card["metrics"]),
        "",
        *_training(card["training"]),
    ]
    return [visible(line) for line in lines]


def describe_base(card: Mapping[str, Any], tensors: Mapping[str, TensorInfo], size: int, sha256: str) -> list[str]:
    """Describe a base file of SAM2Adapt; ``size`` in bytes."""
    lines = [
        f"Base weights '{card['id']}' of SAM2Adapt: not a model, but the start of models",
        "",
        f"SHA-256: {sha256}",
        f"Size:    {_parameters(tensors)}, {megabytes(size)}",
        *_pairs({key: value for key, value in card.items() if key not in ("format", "id")}),
    ]
    return [visible(line) for line in lines]


def describe_official(info: BaseInfo, path: Path | None) -> list[str]:
    """Describe an official checkpoint; ``path``: its file, None if it is not on this machine."""
    return [
        f"Base weights '{info.id}': official SAM 2.1 checkpoint {info.file}, not a model, but the start of models",
        "",
        f"Here:    {path or 'no, not downloaded yet'}",
        f"SHA-256: {info.sha256}{' (matches)' if path else ''}",
        f"Size:    {megabytes(info.bytes)} ({info.bytes} bytes)",
        f"Licence: {info.license}",
        f"Address: {info.url}",
    ]


def parameter_count(tensors: Mapping[str, TensorInfo]) -> int:
    """Number of parameters in all tensors."""
    return sum(math.prod(info.shape) for info in tensors.values())


def code_in_words(terminology: str) -> str:
    """Type and modifier of a Slicer terminology entry, for example ``Lung, Right (SCT 39607008, 24028007)``."""
    parts = [part.split("^") for part in terminology.split("~")[2:4]]
    known = [part for part in parts if len(part) == 3 and part[1]]
    if not known:
        return ""
    return f"{', '.join(part[2] for part in known)} ({known[0][0]} {', '.join(part[1] for part in known)})"


def _parameters(tensors: Mapping[str, TensorInfo]) -> str:
    return f"{parameter_count(tensors):,} parameters in {len(tensors)} tensors"


def _forms(counts: Mapping[str, int]) -> list[str]:
    """Sizes including the base in float32: of the training form, and of the exported form, merged and fused."""
    if "exported" not in counts:
        return []
    total, exported = (f"{counts[name]:,} parameters, {megabytes(4 * counts[name])}" for name in ("total", "exported"))
    return [
        f"Training form:  {total} with the base; {counts['trained']:,} parameters trained",
        f"Exported form:  {exported} with the base",
    ]


def _settings(settings: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{key}={_value(value)}' for key, value in settings.items())})" if settings else ""


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _slices(slices: Mapping[str, Any]) -> str:
    if slices["spacing"]:
        grid = "{:g} x {:g} mm pixels".format(*slices["spacing"])
    else:
        grid = f"longest side {slices['size']} pixels"
    context = ", with the slices above and below" if slices["context"] else ""
    return f"{slices['axis']}, oriented {slices['orientation']}, {grid}{context}"


def _normalization(normalization: Mapping[str, Any]) -> str:
    unit = {"window": "HU window", "percentile": "percentiles of each volume", "range": "range"}[normalization["kind"]]
    return f"{unit} {normalization['low']:g} to {normalization['high']:g}"


def cleaning_steps(card: Mapping[str, Any]) -> str:
    """What segmenting does to the labels of the network, in words."""
    names = {entry["id"]: entry["name"] for entry in card["classes"]}
    settings = card["postprocessing"]
    steps = []
    if together := settings.get("largest_together"):
        steps.append(f"largest piece of {', '.join(names[i] for i in together)} together")
    if settings["largest_component"]:
        steps.append(f"largest piece of {', '.join(names[i] for i in settings['largest_component'])}")
    if settings["minimum_ml"]:
        steps.append(f"no pieces below {settings['minimum_ml']:g} mL")
    if settings["fill_holes"]:
        steps.append(f"holes filled in {', '.join(names[i] for i in settings['fill_holes'])}")
    return "; ".join(steps) or "none"


def _network(network: Mapping[str, Any]) -> str:
    positions = {PEG_ADD: "added to", PEG_REPLACE: "in place of", PEG_NONE: "none beside"}[network["peg"]]
    upscaling = "trained" if network["train_upscaling"] else "as in the base"
    return f"positional generator {positions} the base's positions, upscaling {upscaling}"


def _classes(card: Mapping[str, Any]) -> list[str]:
    width = max(len(entry["name"]) for entry in card["classes"])
    lines = [
        f"{_INDENT}{entry['id']:>3}  {entry['name']:<{width}}  {code_in_words(entry['terminology'])}".rstrip()
        for entry in card["classes"]
    ]
    return ["Structures:", *lines]


def _metrics(metrics: Mapping[str, Any] | None) -> list[str]:
    if metrics is None:
        return ["Dice: not measured"]
    rows = {key: "-" if value is None else f"{value:.3f}" for key, value in metrics["dice"].items()}
    width = max(map(len, rows))
    return [f"Dice, measured on '{metrics['subset']}':", *(f"{_INDENT}{k:<{width}}  {v}" for k, v in rows.items())]


def _training(training: Mapping[str, Any]) -> list[str]:
    split = training["split"]
    minutes = "" if training["minutes"] is None else f", {training['minutes']:.1f} minutes"
    cases = f"{len(split['train'])} cases, {len(split['val'])} kept for validation"
    return [
        f"Trained on {cases}, seed {training['seed']}{minutes}:",
        *_pairs(training["data"]),
        *([f"{_INDENT}settings: {_settings(training['settings']).strip(' ()')}"] if training["settings"] else []),
        *([f"{_INDENT}software: {_settings(training['software']).strip(' ()')}"] if training["software"] else []),
    ]


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{_INDENT}{key}: {_value(value)}" for key, value in values.items()]
