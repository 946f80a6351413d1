"""Models known on this machine, read from the headers of their files.

Slicer's process has no torch and none of the engine's packages, so this needs the standard library only. The engine
checks a model in full when it is added and when it runs; here a file is either readable enough to be listed, or listed
with what is wrong with it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sam2adapt.shared.files import bases_folder, bundled_folder
from sam2adapt.shared.known_bases import BASES
from sam2adapt.shared.model_cards import (
    BUNDLED,
    OWN,
    created,
    full_name,
    is_called,
    mean_dice,
    model_folders,
    slice_pixel,
    typical_size,
)
from sam2adapt.shared.model_fit import fits_shape
from sam2adapt.shared.safetensors_header import BASE_KEY, MODEL_KEY, SCHEMA_VERSION, SUFFIX, read_metadata
from sam2adapt.shared.safety.texts import visible
from sam2adapt.shared.slicing_axis import AXES
from slicer.i18n import tr as _

__all__ = ["BUNDLED", "OWN", "Model", "candidates", "downloadedFiles", "findModel", "modelList"]


@dataclass(frozen=True)
class Model:
    """A model file; ``problem`` says why it cannot be used, and is "" when it can.

    :ivar dice: mean over the structures; ``accuracy``: of each; on ``measuredOn`` images that it did not learn from.
    :ivar pixel, typicalSize: as of ``model_fit.fits_shape``.
    """

    path: Path
    where: str
    name: str
    version: str = ""
    description: str = ""
    modality: str = ""
    structures: tuple[str, ...] = ()
    license: str = ""
    dice: float | None = None
    accuracy: dict[str, float] = field(default_factory=dict)
    measuredOn: int = 0
    axis: str = ""
    pixel: float | None = None
    typicalSize: int | None = None
    base: str = ""
    basePresent: bool = False
    created: float = 0.0
    digest: str = ""
    problem: str = ""

    @property
    def id(self) -> str:
        """What a scene and the console call it: ``NAME@VERSION``."""
        return full_name(self.name, self.version)

    def fits(self, modality: str) -> bool:
        """Whether it was trained for volumes of this modality; an unknown modality ("") fits every model."""
        return not modality or self.modality in (modality, "OTHER")

    def fitsShape(self, shape) -> bool:
        """Whether extent and voxels of slices are near those it was trained on; ``shape``: ``model_fit.SliceShape``."""
        return fits_shape(self.pixel, self.typicalSize, shape)


def modelList() -> list[Model]:
    """Every model file, broken ones too, in the order in which names are looked up: own, newest, bundled.

    A bundled model of which the user has a copy is listed once.
    """
    models = []
    for folder, where in model_folders():
        here = [model for path in sorted(folder.glob(f"*{SUFFIX}")) if (model := _read(path, where))]
        known = {model.digest for model in models if model.digest}
        here = [model for model in here if model.digest not in known]
        models += sorted(here, key=lambda model: model.created, reverse=True)
    return models


def findModel(models: list[Model], text: str) -> Model | None:
    """The usable model called ``NAME`` or ``NAME@VERSION`` (upper and lower case are the same), or None."""
    return next((m for m in models if not m.problem and is_called(text, m.name, m.version)), None)


def candidates(models: list[Model], modality: str, shapeAlong: Callable) -> list[Model]:
    """The models that work and fit a volume as far as their cards tell, the best measured one first.

    :param modality: that of the volume, "" if it is not known.
    :param shapeAlong: function that gives the ``model_fit.SliceShape`` of the volume for a model's ``axis``.
    """
    usable = [model for model in models if not model.problem and model.fits(modality)]
    fitting = [model for model in usable if model.fitsShape(shapeAlong(model.axis))]
    return sorted(fitting, key=lambda model: 1.0 if model.dice is None else -model.dice)


def downloadedFiles() -> list[Path]:
    """Base weights that were downloaded, and what is left of broken downloads."""
    files = (path for info in BASES.values() for path in bases_folder().glob(f"{info.file}*"))
    return sorted(path for path in files if path.is_file())


def _read(path, where):
    """Describe a model file; None for base weights, which lie in the same folders."""
    try:
        metadata = read_metadata(path)
        if BASE_KEY in metadata and MODEL_KEY not in metadata:
            return None
        return _fromCard(path, where, json.loads(metadata[MODEL_KEY]))
    except OSError as error:
        problem = _("The file cannot be read: {reason}.").format(reason=error.strerror or error)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        problem = _("The file is damaged, or no model of SAM2Adapt.")
    return Model(path, where, path.stem, problem=problem)


def _fromCard(path, where, card):
    if card["schema_version"] > SCHEMA_VERSION:
        problem = _("It was written by a newer SAM2Adapt. Update the extension.")
        return Model(path, where, visible(str(card.get("name", path.stem))[:100]), problem=problem)
    base = _text(card["base"]["id"])
    return Model(
        path=path,
        where=where,
        name=_text(card["name"]),
        version=_text(card["version"]),
        description=_text(card["description"], keep="\n"),
        modality=_text(card["modality"]),
        structures=tuple(_text(entry["name"]) for entry in card["classes"]),
        license=_text(card["license"]),
        dice=_share(mean_dice(card)),
        accuracy=_accuracy(card),
        measuredOn=len(card["metrics"].get("cases", ())) if card["metrics"] else 0,
        axis=_axis(card),
        pixel=_positive(slice_pixel(card)),
        typicalSize=typical_size(card),
        base=base,
        basePresent=_basePresent(base),
        created=created(card),
        digest=_text(card["digest"]),
    )


def _text(value, keep=""):
    """A text of a card that nobody has checked, as a list may show it; what is no text raises TypeError."""
    if not isinstance(value, str):
        raise TypeError(value)
    return visible(value, keep)


def _accuracy(card):
    """Dice of each structure, {} where it was not measured."""
    measured = card["metrics"]["dice"] if card["metrics"] else {}
    return {_text(name): _share(value) for name, value in measured.items() if name != "mean" and value is not None}


def _axis(card):
    """The slicing axis of a card that nobody has checked; what is none raises ValueError."""
    axis = card["slices"]["axis"]
    if axis not in AXES:
        raise ValueError(axis)
    return axis


def _positive(value):
    """A length of a card that nobody has checked, None where it has none; what is none raises ValueError."""
    if value is None or value > 0:
        return value
    raise ValueError(value)


def _share(value):
    """A Dice of a card that nobody has checked; what is none raises TypeError or ValueError."""
    if value is None or 0 <= value <= 1:
        return value
    raise ValueError(value)


def _basePresent(base):
    """Whether a file of that base is there; its checksum is the engine's to check."""
    if base in BASES and (bases_folder() / BASES[base].file).is_file():
        return True
    return any((folder / f"{base}{SUFFIX}").is_file() for folder in (bundled_folder(), bases_folder()))
