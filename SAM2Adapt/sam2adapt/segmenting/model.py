"""A model that is ready to segment: the card of a bundle and its network, merged and fused."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from .. import adapters
from ..imaging.terminology import Structure
from ..machine.device import is_out_of_memory
from ..modelfiles.bundle import Bundle, read_bundle
from ..modelfiles.catalog import find_model
from ..network.base import ImagePath
from ..network.network import SegmentationNetwork
from ..network.predicting.network import InferenceNetwork
from ..network.weights import load_base
from ..shared.errors import ModelFileError, SettingsError
from .slices import SliceSettings

# Numbers up to which a setting of a method is as in use; whatever is not named here is a share.
_USUAL = {"width": 256, "rank": 256, "alpha": 512, "stride": 2, "blocks": 64, "distil": 10_000}


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
    network, method = _built(bundle, base)
    device = torch.device(device)
    return Model(bundle.card, exported(network, method).to(device), device)


def _built(bundle: Bundle, base: ImagePath) -> tuple[SegmentationNetwork, adapters.Method]:
    """The training form of a bundle's network with its tensors.

    :raises ModelFileError: its settings are those of no network, or its tensors do not fit them.
    """
    try:
        _check_size(bundle)
        network, method = build_network(bundle.card, base)
        network.load_trained_state(bundle.tensors)
    except SettingsError as error:
        reason = error.message
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    else:
        return network, method
    raise ModelFileError(
        f"The card of '{bundle.path}' describes no possible network: {reason.rstrip('.')}.",
        "Get the model file again from where it came from.",
    )


def _check_size(bundle: Bundle) -> None:
    """Refuse settings of which the tensors would have to be larger than the file, before any memory is taken.

    :raises ModelFileError: as ``_built``.
    """
    method = bundle.card["method"]
    if not _is_unusual(method["settings"]):
        return  # the check takes as long as building a small network
    from ..adapters.sizes import shapes_only

    made = adapters.create(method["name"], method["settings"])
    classes = len(bundle.card["classes"]) + 1
    shapes_only(bundle.card["base"]["id"], made, classes, **bundle.card["network"]).check_trained_state(bundle.tensors)


def _is_unusual(value: object, name: str = "") -> bool:
    """Whether a number in settings is larger than those in use."""
    if isinstance(value, dict):
        return any(_is_unusual(inside, key) for key, inside in value.items())
    if isinstance(value, list):
        return any(_is_unusual(inside, name) for inside in value)
    return isinstance(value, int | float) and not abs(value) <= _USUAL.get(name, 1)
