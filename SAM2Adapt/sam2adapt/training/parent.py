"""The model that a training starts from: its tensors, its grid, and slices kept from its training."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..imaging.terminology import Structure
from ..modelfiles.bundle import Bundle, read_bundle
from ..modelfiles.catalog import find_model
from ..network.network import SegmentationNetwork
from ..segmenting.slices import SliceSettings
from ..shared.errors import ModalityError, ModelFileError, SettingsError
from .cleaning.survey import EACH, TOGETHER, PieceSurvey
from .prepare import Fingerprint
from .replay import Replay, read_replay


@dataclass
class Parent:
    """A model that a training starts from.

    :param continued: whether the new model has one of its classes. If so, grid and grey levels stay the same, and its
        slices are trained on again. If not, only its tensors are used, as a start.
    """

    bundle: Bundle
    continued: bool

    @property
    def name(self) -> str:
        """The model's name."""
        return self.bundle.card["name"]

    @property
    def slices(self) -> SliceSettings | None:
        """Axis, grid and grey levels that the new model must keep; None if it is not continued."""
        return SliceSettings.from_card(self.bundle.card["slices"]) if self.continued else None

    @property
    def modality(self) -> str | None:
        """Modality of the continued model; None if it is not continued."""
        return self.bundle.card["modality"] if self.continued else None

    def replay(self) -> Replay | None:
        """Slices kept from the model; None if this machine has none, or the model is not continued."""
        return read_replay(self.bundle.card["digest"]) if self.continued else None

    def pass_on_cleaning(
        self,
        card: dict,
        structures: list[Structure],
        pieces: PieceSurvey,
        keep_pieces: bool,
        say: Callable[[str], None],
    ) -> None:
        """Let the new model clean as this one does, beside what its card says already.

        :param pieces: of the new training volumes, which may show that a structure can be in several.
        :param keep_pieces: leave out the largest pieces.
        """
        own = card["postprocessing"]
        for step, value in self._cleaning(structures).items():
            if step not in (TOGETHER, EACH):
                own[step] = sorted({*own[step], *value}) if isinstance(value, list) else own[step] or value
            elif not keep_pieces:
                groups = [value] if step == TOGETHER else [[number] for number in value]
                apart = {number for group in groups if pieces.contradict(group) for number in group}
                if apart:
                    names = ", ".join(structure.name for structure in structures if structure.id in apart)
                    names += " together" * (step == TOGETHER)
                    say(
                        f"Model '{self.name}' keeps only the largest piece of {names}; in a training volume there are"
                        " several, so the new model keeps all of them."
                    )
                if kept := sorted({*own.get(step, []), *value} - apart):
                    own[step] = kept

    def _cleaning(self, structures: list[Structure]) -> dict[str, Any]:
        """The card's ``postprocessing``, for the classes that the new model also has."""
        if not self.continued:
            return {}
        ids = {structure.name.lower(): structure.id for structure in structures}
        new = {entry["id"]: ids.get(entry["name"].lower()) for entry in self.bundle.card["classes"]}
        return {
            step: sorted(new[n] for n in value if new[n]) if isinstance(value, list) else value
            for step, value in self.bundle.card["postprocessing"].items()
        }

    def check_modality(self, properties: Fingerprint) -> None:
        """Refuse images of another modality than the model's.

        :raises ModalityError: the images are of another modality.
        """
        modality = self.bundle.card["modality"]
        if self.continued and properties.modality != modality:
            raise ModalityError(
                f"Model '{self.name}' was trained on {modality}, and the training images are {properties.modality}.",
                "Start from a model of the same modality, or say which modality the images are.",
                setting=("init", "modality"),
            )

    def start(self, network: SegmentationNetwork, card: dict) -> None:
        """Load the model's tensors. Classes are matched by name; a new class starts from the background's tensors.

        :raises SettingsError: the new model has another base, network or method.
        """
        parent = self.bundle.card
        if parent["base"] != card["base"]:
            raise SettingsError(
                f"Model '{self.name}' was trained on the base network '{parent['base']['id']}' with SHA-256"
                f" {parent['base']['sha256']}, and cannot be continued on '{card['base']['id']}' with SHA-256"
                f" {card['base']['sha256']}.",
                "Leave out the base network: the model decides it.",
                setting="base",
            )
        if parent["network"] != card["network"]:
            raise SettingsError(
                f"Model '{self.name}' was trained with {_listed(parent['network'])}, and cannot be continued with"
                f" {_listed(card['network'])}.",
                "Leave out these settings: the model decides them.",
                setting=("peg", "train_upscaling"),
            )
        if parent["method"] != card["method"]:
            raise SettingsError(
                f"Model '{self.name}' was trained with method '{parent['method']['name']}' and other settings.",
                "Leave out the method and its settings: the model decides them.",
                setting=("method", "settings"),
            )
        card["parent"] = parent["digest"]
        names = [None, *(entry["name"].lower() for entry in parent["classes"])]
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

    :raises ModelNotFoundError: there is no model of that name. :raises ModelFileError: it cannot be read, or its
        tensors are those of other classes.
    """
    bundle = read_bundle(find_model(name_or_path))
    classes = len(bundle.card["classes"]) + 1
    wrong = [n for n, tensor in bundle.tensors.items() if _is_per_class(n) and tensor.shape[:1] != (classes,)]
    if wrong:
        raise ModelFileError(
            f"The tensors of '{bundle.path}' do not fit its {classes} classes, the background among them"
            f" ({len(wrong)} of them, for example '{wrong[0]}').",
            "Get the model file again from its source.",
        )
    known = {entry["name"].lower() for entry in bundle.card["classes"]}
    return Parent(bundle, continued=any(structure.name.lower() in known for structure in structures))
