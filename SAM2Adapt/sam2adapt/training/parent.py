"""The model that a training starts from: its tensors, its grid, and the slices kept of its training."""

from dataclasses import dataclass
from pathlib import Path

from ..imaging.terminology import Structure
from ..modelfiles.bundle import Bundle, read_bundle
from ..modelfiles.catalog import find_model
from ..network.network import SegmentationNetwork
from ..segmenting.slices import SliceSettings
from ..shared.errors import ModalityError, SettingsError
from .prepare import Fingerprint
from .replay import Replay, read_replay


@dataclass
class Parent:
    """A model that a training starts from.

    :param continued: whether the new model has one of its classes. If so, grid and grey levels stay the same and its
        slices are trained on again. If not, its tensors are a start for something else, and nothing more.
    """

    bundle: Bundle
    continued: bool

    @property
    def name(self) -> str:
        """The model's name."""
        return self.bundle.card["name"]

    @property
    def slices(self) -> SliceSettings | None:
        """Axis, grid and grey levels that the new model must keep."""
        return SliceSettings.from_card(self.bundle.card["slices"]) if self.continued else None

    @property
    def modality(self) -> str | None:
        """Kind of images of the model that is continued."""
        return self.bundle.card["modality"] if self.continued else None

    def replay(self) -> Replay | None:
        """Slices kept of the model; None if this machine has none, or there is nothing to forget."""
        return read_replay(self.bundle.card["digest"]) if self.continued else None

    def check_modality(self, found: Fingerprint) -> None:
        """Refuse images of another kind than those that the model was trained on.

        :raises ModalityError: the images are of another kind.
        """
        modality = self.bundle.card["modality"]
        if self.continued and found.modality != modality:
            raise ModalityError(
                f"Model '{self.name}' was trained on {modality}, and the training images are {found.modality}.",
                "Start from a model of the same modality, or say which modality the images are.",
                setting=("init", "modality"),
            )

    def start(self, network: SegmentationNetwork, card: dict) -> None:
        """Load the model's tensors. Classes are matched by name; a new class starts from the background's tensors.

        :raises SettingsError: the new model has another base, network or method.
        """
        own = self.bundle.card
        if own["base"] != card["base"]:
            raise SettingsError(
                f"Model '{self.name}' was trained on the base network '{own['base']['id']}' with SHA-256"
                f" {own['base']['sha256']}, and cannot be continued on '{card['base']['id']}' with SHA-256"
                f" {card['base']['sha256']}.",
                "Choose no base network: the model then brings its own.",
                setting="base",
            )
        if own["network"] != card["network"]:
            raise SettingsError(
                f"Model '{self.name}' was trained with {_listed(own['network'])}, and cannot be continued with"
                f" {_listed(card['network'])}.",
                "Leave these settings out: the model then brings its own.",
                setting=("peg", "train_upscaling"),
            )
        if own["method"] != card["method"]:
            raise SettingsError(
                f"Model '{self.name}' was trained with method '{own['method']['name']}' and its own settings.",
                "Leave the method and its settings out: the model then brings its own.",
                setting=("method", "settings"),
            )
        card["parent"] = own["digest"]
        names = [None, *(entry["name"].lower() for entry in own["classes"])]
        rows = [
            names.index(entry["name"].lower()) if entry["name"].lower() in names else 0 for entry in card["classes"]
        ]
        tensors = {n: t[[0, *rows]] if _is_per_class(n) else t for n, t in self.bundle.tensors.items()}
        network.load_trained_state(tensors)


def _listed(settings: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _is_per_class(name: str) -> bool:
    return name.startswith(("head.", "prompts."))


def read_parent(name_or_path: str | Path, structures: list[Structure]) -> Parent:
    """Read the model to start from.

    :raises ModelNotFoundError: there is no model of that name. :raises ModelFileError: it cannot be read.
    """
    bundle = read_bundle(find_model(name_or_path))
    known = {entry["name"].lower() for entry in bundle.card["classes"]}
    return Parent(bundle, continued=any(structure.name.lower() in known for structure in structures))
