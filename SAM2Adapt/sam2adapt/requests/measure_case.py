"""Carries out ``MeasureCase``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..evaluation.cases import Case
from ..imaging.terminology import name_key
from ..machine.interruption import interruptible, look
from ..shared import paths
from ..shared.errors import ClassesError
from ..shared.labels.annotation import MASK_REMEDY
from ..shared.labels.drawn_slices import read_drawn_slices
from ..shared.labels.label_names import label_table
from ..shared.requests.server_actions import MeasureCase
from .segment import Load

if TYPE_CHECKING:
    from ..segmenting.model import Model


def measure_case(request: MeasureCase, load: Load | None = None, cancelled: Callable[[], bool] | None = None) -> dict:
    """Measure a model on one image and its corrected labels.

    :param load: see ``segment.segment``.
    :return: ``dice``: of each structure of the model that occurs in the labels or the prediction, and their ``mean``.
    :raises UserError: as ``evaluate.mean_dice``; ``ClassesError``: the labels name no structure of the model.
    """
    from ..evaluation.evaluate import mean_dice
    from ..machine.device import choose_device
    from ..segmenting.model import load_model

    paths.check_file(request.image)
    paths.check_file(request.labels)
    model = (load or load_model)(request.model, choose_device(request.device)[0])
    with interruptible(cancelled, "The measurement"):
        look()
        return {"dice": mean_dice(model, [_case(request, model)])}


def _case(request: MeasureCase, model: "Model") -> Case:
    """The case with the model's label values; structures that the model does not know are background."""
    table = label_table(request.labels)
    numbers = {name_key(structure.name): structure.id for structure in model.structures}
    entries = table.entries if table else {}
    values = tuple((value, numbers.get(name_key(entry.name), 0)) for value, entry in entries.items())
    if not any(number for _, number in values):
        names = ", ".join(entry.name for entry in entries.values()) or "no structure"
        raise ClassesError(
            f"'{request.labels}' names {names}, and model '{model.name}' knows"
            f" {', '.join(structure.name for structure in model.structures)}.",
            MASK_REMEDY,
        )
    name = request.image.name.partition(".")[0]
    return Case(name, request.image, request.labels, values, drawn=read_drawn_slices(request.labels))
