"""Cards, tensors and files that the tests of model files start from."""

import copy
import json
from pathlib import Path

import torch
from cards import model_card
from safetensors.torch import save_file
from sam2adapt.modelfiles.bundle import write_bundle

LUNG = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^39607008^Lung~SCT^24028007^Right~Anatomic codes - DICOM master list~^^~^^"
)
#: A card with something in every field.
CARD = model_card(
    name="torso CT",
    description="Lungs on chest CT; a demonstration, not a clinical model.",
    license="CC-BY-4.0",
    created="2026-11-21T08:00:00+00:00",
    method={"name": "dual-lw", "settings": {"ratio": 0.25}},
    base={"id": "nano", "sha256": "a" * 64},
    classes=[
        {"id": 1, "name": "right lung", "terminology": LUNG, "color": [0.7, 0.4, 0.4]},
        {"id": 7, "name": "left lung", "terminology": "", "color": [0.8, 0.5, 0.5]},
    ],
    slices={
        "axis": "axial", "spacing": [1.5, 1.5], "size": None,
        "normalization": {"kind": "window", "low": -1000, "high": 400.5},
    },
    network={"peg": "add", "train_upscaling": True},
    postprocessing={"largest_component": [1], "fill_holes": [1, 7], "minimum_ml": 0.5},
    training={
        "data": {"summary": "3 chest CT"}, "split": {"train": ["a", "b"], "val": ["c"]}, "seed": 0,
        "settings": {"epochs": 5}, "software": {"sam2adapt": "0.1.0"}, "minutes": 12.25, "machine": "x86",
    },
    metrics={
        "subset": "val", "dice": {"mean": 0.9375, "right lung": 0.95, "left lung": 0.925}, "hd95": {"mean": None},
    },
)  # fmt: skip


def card(**changes) -> dict:
    """A valid card; ``slices__axis="oblique"`` changes ``card["slices"]["axis"]``."""
    result = copy.deepcopy(CARD)
    for field, value in changes.items():
        *path, last = field.split("__")
        place = result
        for key in path:
            place = place[key]
        place[last] = value
    return result


def tensors() -> dict[str, torch.Tensor]:
    """Tensors of several kinds, a scalar and an empty one among them."""
    generator = torch.Generator().manual_seed(0)
    return {
        "head.token": torch.randn(3, 4, generator=generator),
        "adapter.down": torch.randn(2, 5, generator=generator).half(),
        "adapter.up": torch.randn(5, 2, generator=generator).bfloat16(),
        "scale": torch.tensor(0.5),
        "steps": torch.tensor([3, 5]),
        "nothing": torch.zeros(0, 3),
    }


def write_model(path: Path, **changes) -> Path:
    """Write a model whose card has these changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bundle(path, card(**changes), tensors())
    return path


def write_raw(path: Path, metadata: dict[str, str] | None) -> Path:
    """Write a safetensors file with any metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.arange(4.0)}, path, metadata)
    return path


def write_base(path: Path, base_id: str = "nano") -> Path:
    """Write a base weight file of ours."""
    return write_raw(path, {"sam2adapt_base": json.dumps({"format": "sam2adapt-base", "id": base_id, "data": "noise"})})
