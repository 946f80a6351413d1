"""Facts about a segmentation, with the same names in the report of a volume, in a manifest and from the server."""

from ..imaging.terminology import Structure, choose
from .predict import Options, Segmentation


def origin(card: dict, options: Options) -> dict:
    """What labels depend on, the volume apart: ``model``, ``digest`` and ``settings``.

    :raises ClassesError: the model does not have a structure that the options name.
    """
    settings = options.to_json()
    if options.structures is not None:
        structures = [Structure.from_json(entry) for entry in card["classes"]]
        # As the model spells and orders them, so that another spelling is the same request.
        settings["structures"] = [structure.name for structure in choose(structures, options.structures, card["name"])]
    return {"model": card["name"], "digest": card["digest"], "settings": settings}


def algorithm(card: dict) -> tuple[str, str]:
    """Name and version of a model for a DICOM segmentation."""
    return card["name"], card["digest"][:16]


def outcome(result: Segmentation) -> dict:
    """The result: ``device``, ``slices`` and ``structures`` with their sizes."""
    return {"device": str(result.device), "slices": result.slices, "structures": result.sizes}
