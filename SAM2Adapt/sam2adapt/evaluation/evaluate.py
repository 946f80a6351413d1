"""Compare a model with the labels of many cases, each on its native grid."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..imaging.cleaning import clean
from ..imaging.terminology import Structure
from ..imaging.volume import Volume
from ..machine.exchange import map_over_ranks
from ..segmenting.model import Model
from ..segmenting.predict import Options, segment
from ..segmenting.slices import SliceStack, check_colour, check_modality
from ..shared.errors import ClassesError, ModalityError
from ..shared.labels.annotation import IGNORE, MASK_REMEDY
from .cases import Case, case_labels
from .load_case import load_case
from .metrics import ConfusionMatrix, HistogramAUC, aggregate, case_metrics, dice_counts

Slices = dict[str, list[int]]
Load = Callable[[Case, list[Structure]], tuple[Volume, np.ndarray]]


def evaluate(
    model: Model,
    cases: list[Case],
    progress: Callable[[int, int], None] | None = None,
    slices: Slices | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict:
    """Segment each case as a user would, and compare the result with the labels.

    Voxels with the label 255 ("not annotated") do not count. AUC is computed from the probabilities of the network,
    before post-processing.

    :param progress: called with (cases done, cases in all).
    :param slices: for each case id, the slices that count, indices along the model's slicing axis; None: all.
    :param say: called with sentences about decisions that reading took.
    :raises ClassesError: no label shows any class of the model. :raises ModalityError: colour for a model of grey
        levels, or the reverse.
    :return: as ``metrics.aggregate``: Dice, IoU, HD95, ASSD and AUC of each class, and mIoU with background.
    """
    ids = [structure.id for structure in model.structures]
    confusion, areas = ConfusionMatrix(ids), HistogramAUC(ids)
    results, physical = {}, True
    _check_a_class_occurs(cases, model)
    for number, case in enumerate(cases):
        volume, truth = _loaded(case, model, slices)
        for note in (*volume.notes, *_other_modality(volume, model)):
            say(note)
        physical = volume.physical
        observe = _observer(areas, truth)
        labels = segment(volume, model, Options(any_modality=True, observe=observe)).labels.array[0]
        annotated = truth != IGNORE
        labels, truth = np.where(annotated, labels, 0), np.where(annotated, truth, 0)
        results[case.id] = case_metrics(labels, truth, ids, volume.spacing[::-1] if physical else None)
        confusion.update(labels[annotated], truth[annotated])
        if progress:
            progress(number + 1, len(cases))
    unit = "mm" if physical else "voxel"
    return aggregate(results, model.structures, confusion.miou(), areas.auc(), unit)


def _check_a_class_occurs(cases: list[Case], model: Model) -> None:
    """Refuse cases without any voxel of a class, before hours of work; stop reading at the first such voxel."""
    ids, unannotated = [structure.id for structure in model.structures], False
    for case in cases:
        values = case_labels(case, model.structures).array
        if np.isin(values, ids).any():
            return
        unannotated = unannotated or bool((values == IGNORE).any())
    if not unannotated:
        return  # empty labels state that nothing is there
    raise ClassesError(
        f"No label of the cases, '{cases[0].label}' for one, holds a voxel of a class of the model"
        f" ({', '.join(f'{s.id}={s.name}' for s in model.structures)}).",
        MASK_REMEDY,
    )


def _other_modality(volume: Volume, model: Model) -> list[str]:
    """A sentence if the volume is not of the model's modality; the model may work anyway, as the labels show.

    :raises ModalityError: colour for a model of scanner volumes, or the reverse.
    """
    modality, name = model.card["modality"], model.name
    check_colour(volume, modality, name)
    try:
        check_modality(volume, modality, name)
    except ModalityError as error:
        return [f"{error.message} It was measured anyway."]
    return []


def _loaded(case: Case, model: Model, slices: Slices | None, load: Load = load_case) -> tuple[Volume, np.ndarray]:
    """Image and label values (K, J, I); slices that do not count are not annotated."""
    volume, truth = load(case, model.structures)
    if slices is None:
        return volume, truth
    stack, counting = SliceStack(volume, model.slices), np.full_like(truth, IGNORE)
    stack.oriented(counting)[slices[case.id]] = stack.oriented(truth)[slices[case.id]]
    return volume, counting


def _observer(areas: HistogramAUC, truth: np.ndarray) -> Callable[[SliceStack, int, Tensor], None]:
    def observe(stack: SliceStack, start: int, probabilities: Tensor) -> None:
        true = stack.oriented(truth)[start : start + len(probabilities)]
        annotated = true != IGNORE
        classes = probabilities[:, 1:].movedim(1, 0).cpu().numpy()
        areas.update(classes[:, annotated], true[annotated])

    return observe


def mean_dice(
    model: Model,
    cases: list[Case],
    slices: Slices | None = None,
    watch: Callable[[], None] = lambda: None,
    observe: Callable[[Case, np.ndarray], None] = lambda case, labels: None,
    load: Load = load_case,
) -> dict[str, float]:
    """Dice of each class, averaged over the cases in which it occurs, and their mean.

    Processes that train together share the cases.

    :param slices: see ``evaluate``.
    :param watch: called after each batch of slices; an error that it raises ends the measurement.
    :param observe: called with each case and its predicted labels (K, J, I).
    :param load: reads a case, for example from a ``CaseMemory``.
    """

    def measure(case: Case) -> list[float]:
        volume, truth = _loaded(case, model, slices, load)
        result = segment(volume, model, Options(any_modality=True), lambda done, total: watch())
        labels = result.labels.array[0]
        observe(case, labels)
        return [_dice(labels, truth, structure.id) for structure in model.structures]

    scores = np.array(map_over_ranks(measure, cases)).reshape(len(cases), len(model.structures)).T
    named = zip((structure.name for structure in model.structures), scores, strict=True)
    means = {name: float(np.nanmean(values)) for name, values in named if not np.all(np.isnan(values))}
    return {"mean": float(np.mean(list(means.values()))) if means else 0.0, **means}


def dice_after(
    model: Model, cases: Sequence[Case], cleanings: Sequence[dict[str, Any]], slices: Slices | None = None
) -> np.ndarray:
    """Dice of each class after each of several cleanings of the same labels, averaged over cases in which it occurs.

    :param cleanings: settings of ``cleaning.clean``, in the place of the card's ``postprocessing``.
    :param slices: see ``evaluate``.
    :return: (cleanings, classes); NaN for a class that occurs neither in the labels nor in the truth.
    """
    scores = []
    for case in cases:
        volume, truth = _loaded(case, model, slices)
        found = segment(volume, model, Options(any_modality=True, post_process=False)).labels.array[0]
        scores.append([])
        for settings in cleanings:
            labels = found.copy()
            clean(SliceStack(volume, model.slices).oriented(labels), settings, volume.voxel_ml)
            scores[-1].append([_dice(labels, truth, structure.id) for structure in model.structures])
    scores = np.array(scores)
    counts = np.isfinite(scores).sum(0)
    return np.divide(np.nansum(scores, 0), counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def _dice(labels: np.ndarray, truth: np.ndarray, value: int) -> float:
    twice_common, both = dice_counts((labels == value) & (truth != IGNORE), truth == value).tolist()
    return twice_common / both if both else float("nan")
