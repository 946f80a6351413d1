"""Models as segmentation takes them, in memory: cards around networks with random or bundled weights."""

from typing import Any

import torch
from sam2adapt.imaging.terminology import describe
from sam2adapt.modelfiles.bundle import validate_card
from sam2adapt.segmenting.model import Model, load_model
from torch import Tensor, nn
from torch.nn import functional as F

from .networks import build

BUNDLED = "torso-ct"
METHOD = "dual-lw"
_CT = {"kind": "window", "low": -1024.0, "high": 596.0}
_MR = {"kind": "percentile", "low": 0.5, "high": 99.5}


class ByGreyLevel(nn.Module):
    """A network with random weights that takes its time, and then gives classes by the grey level of blurred slices.

    Random weights find noise in thousands of pieces, which takes longer to clean than what trained ones find.
    """

    def __init__(self, network: nn.Module, classes: int):
        super().__init__()
        self.network = network
        self.register_buffer("levels", torch.linspace(-2.0, 2.5, classes).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, H, W) of normalised images (B, 3, H, W)."""
        blurred = F.avg_pool2d(images[:, 1:2].float(), 9, stride=1, padding=4)
        return self.network(images) * 0 - (blurred - self.levels).square()


def random_model(
    base: str, modality: str, side: int, device: torch.device, classes: int = 4, cleaning: bool = False
) -> Model:
    """A model that costs what one with trained weights does, on slices whose longer side is ``side`` pixels.

    :param modality: ``CT`` or ``MR``; ``classes``: K, background included.
    :param cleaning: keep the largest piece of every structure, and fill its holes.
    """
    values = list(range(1, classes))
    cleaned = values if cleaning else []
    card = {
        "format": "sam2adapt-bundle", "schema_version": 1, "name": f"{base} {METHOD}", "version": "1.0.0",
        "description": "Random weights, to measure with.", "license": "Apache-2.0",
        "created": "2026-01-01T00:00:00+00:00", "parent": None, "method": {"name": METHOD, "settings": {}},
        "base": {"id": base, "sha256": "0" * 64}, "modality": modality,
        "classes": [describe(value, f"structure {value}").to_json() for value in values],
        "slices": {
            "orientation": "LPS", "axis": "acquisition", "spacing": None, "size": side, "context": 1,
            "normalization": _CT if modality == "CT" else _MR,
        },
        "network": {"peg": "add", "train_upscaling": False},
        "postprocessing": {"largest_component": cleaned, "fill_holes": cleaned, "minimum_ml": 0.0},
        "training": {
            "data": {}, "split": {"train": [], "val": []}, "seed": 0, "settings": {}, "software": {}, "minutes": None,
        },
        "metrics": None,
    }  # fmt: skip
    validate_card(card)
    network = ByGreyLevel(build(base, METHOD, "exported", classes), classes)
    return Model(card, network.eval().to(device), device)


def bundled_model(device: torch.device) -> Model:
    """The model of CT that comes with the extension."""
    return load_model(BUNDLED, device)


def for_mr(model: Model, side: int) -> Model:
    """The same network with the card of a model of MR: real weights, labels without meaning."""
    slices: dict[str, Any] = {"axis": "acquisition", "spacing": None, "size": side, "normalization": _MR}
    card = {**model.card, "modality": "MR", "slices": {**model.card["slices"], **slices}}
    return Model(card, model.network, model.device)
