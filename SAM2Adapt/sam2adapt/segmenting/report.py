"""Facts about a segmentation, named alike in the report of a volume, in a manifest and in the server's answer."""

from ..imaging.terminology import Structure, choose
from .predict import Options, Segmentation


def origin(card: dict, options: Options) -> dict:
    """What the labels depend on, apart from the volume: ``model``, ``digest`` and ``settings``.

    :raises ClassesError: the model lacks a structure that the options name.
    """
    settings = options.to_json()
    if options.structures is not None:
        structures = [Structure.from_json(entry) for entry in card["classes"]]
        # In the spelling and order of the model, so that requests that differ only in spelling are equal.
        settings["structures"] = [structure.name for structure in choose(structures, options.structures, card["name"])]
    return {"model": card["name"], "digest": card["digest"], "settings": settings}


def algorithm(card: dict) -> tuple[str, str]:
    """Name and version of a model for a DICOM segmentation."""
    return card["name"], card["digest"][:16]


def outcome(result: Segmentation) -> dict:
    """The result: ``device``, ``slices`` and ``structures`` with their sizes."""
    return {"device": str(result.device), "slices": result.slices, "structures": result.sizes}
