"""Read the cases of a run, divide them into training and validation, and resample them to the model's grid."""

from collections.abc import Callable
from dataclasses import dataclass

from ..evaluation.cases import Case, select
from ..segmenting.slices import SliceSettings
from ..shared.errors import TrainingDataError
from .prepare import Fingerprint, PreparedCase, fingerprint, prepare
from .record import PREPARED
from .settings import TrainRequest
from .split import check_validation, draw_split, hold_out_slices


@dataclass
class TrainingData:
    """The data for training and validation.

    :param properties: modality, grid and grey levels of the cases.
    :param train: the training cases; ``prepared``: the same on the model's grid; ``val``: the validation cases.
    :param held: for each case in ``val``, the slices for validation, which are not trained on; None: whole cases.
    :param split: ids of the cases in both parts, and the slices that are held out, as in a card.
    """

    properties: Fingerprint
    train: list[Case]
    prepared: list[PreparedCase]
    val: list[Case]
    held: dict[str, list[int]] | None
    split: dict


def read_data(
    request: TrainRequest, slices: SliceSettings | None, say: Callable[[str], None], former: str | None = None
) -> TrainingData:
    """Read the cases of a run into its folder.

    :param slices: axis, grid and grey levels of the continued model; ``former``: its modality.
    :raises UserError: the cases cannot be read, do not fit together, or leave nothing to train on.
    """
    structures, settings = request.structures, request.settings
    split = request.split or draw_split(request.cases, structures, settings.seed, request.groups)
    parts = {part: select(request.cases, split, part) for part in ("train", "val")}
    if not parts["train"]:
        raise TrainingDataError("The split leaves no case to train on.", "Put at least one into its 'train' list.")
    count = len(parts["train"])
    say(f"Reading {count} training case{'s' * (count > 1)}")
    properties = fingerprint(parts["train"], structures, settings, parts["val"], slices, former, say)
    check_validation(parts["val"], structures)
    folder, weight = request.folder / PREPARED, settings.filled_weight
    prepared = prepare(parts["train"], structures, properties.slices, folder, filled_weight=weight)
    for case in prepared:
        if not case.annotated:
            say(f"Case '{case.id}' holds no annotated voxel and is left out of the training.")
    drawn = request.split is None and not parts["val"]
    held = (hold_out_slices(prepared) if drawn else split.get("val_slices")) or None
    val = [case for case in parts["train"] if case.id in held] if held else parts["val"]
    ids = {part: [case.id for case in cases] for part, cases in parts.items()}
    return TrainingData(properties, parts["train"], prepared, val, held, ids | ({"val_slices": held} if held else {}))
