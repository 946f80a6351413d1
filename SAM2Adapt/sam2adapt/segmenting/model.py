"""A model that is ready to segment: the card of a bundle and its network, merged and fused."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from .. import adapters
from ..imaging.terminology import Structure
from ..modelfiles.bundle import read_bundle
from ..modelfiles.catalog import find_model
from ..network.base import ImagePath
from ..network.network import SegmentationNetwork
from ..network.predicting.network import InferenceNetwork
from ..network.weights import load_base
from .slices import SliceSettings


@dataclass
class Model:
    """The card of a model, and its network in exported or training form."""

    card: dict
    network: InferenceNetwork | SegmentationNetwork
    device: torch.device
    slices: SliceSettings = field(init=False)
    structures: list[Structure] = field(init=False)

    def __post_init__(self):
        self.slices = SliceSettings.from_card(self.card["slices"])
        self.structures = [Structure.from_json(entry) for entry in self.card["classes"]]

    @property
    def name(self) -> str:
        """The model's name, as in its card."""
        return self.card["name"]

    @property
    def label_values(self) -> list[int]:
        """Label value of each network class, background (0) first."""
        return [0, *(structure.id for structure in self.structures)]


def build_network(card: dict, base: ImagePath) -> tuple[SegmentationNetwork, adapters.Method]:
    """Build the network of a card on its base, in training form, untrained."""
    method = adapters.create(card["method"]["name"], card["method"]["settings"])
    network = SegmentationNetwork(base, len(card["classes"]) + 1, **card["network"])
    method.apply(network)
    return network, method


def exported(network: SegmentationNetwork, method: adapters.Method) -> InferenceNetwork:
    """Turn a trained network into the form that predicts: merged, fused and prepared. It changes in place."""
    network.eval()
    method.export(network)
    return InferenceNetwork(network)


def load_model(name_or_path: str | Path, device: torch.device | str = "cpu") -> Model:
    """Load a model by name or file for prediction.

    :raises ModelNotFoundError: unknown model; ``ModelFileError``: bad file; ``WeightsMissingError``: no base weights.
    """
    bundle = read_bundle(find_model(name_or_path))
    base, _ = load_base(bundle.card["base"]["id"], bundle.card["base"]["sha256"])
    network, method = build_network(bundle.card, base)
    network.load_trained_state(bundle.tensors)
    device = torch.device(device)
    return Model(bundle.card, exported(network, method).to(device), device)
