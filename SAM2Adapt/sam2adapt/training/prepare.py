"""Turn cases on disk into slices for training: find their properties, and resample each slice to the model's grid.

Prepared slices are in memory-mapped files in the run folder, so that memory does not grow with the training set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..evaluation.cases import Case, case_labels
from ..evaluation.load_case import load_case
from ..imaging.terminology import Structure
from ..imaging.volume import Volume
from ..segmenting.slices import Normalization, SliceSettings, SliceStack
from ..shared.errors import ClassesError, ModalityError, TrainingDataError
from ..shared.files import output_error
from ..shared.labels.annotation import IGNORE, MASK_REMEDY
from ..shared.labels.drawn_slices import drawn_voxels
from ..shared.modality import modality_of
from ..shared.safety.private import open_private, private_folder
from ..shared.safety.stored_array import StoredArray
from ..shared.slicing_axis import ACQUISITION, is_stack
from .cleaning.survey import PieceSurvey
from .settings import TrainSettings


@dataclass
class Fingerprint:
    """Properties of the training set.

    :param slices: axis, grid and grey levels for the model.
    :param median_size: rows and columns of a typical slice on that grid.
    :param voxels: number of voxels of each label value, in all cases.
    :param pieces: how the structures hang together.
    """

    modality: str
    slices: SliceSettings
    median_size: tuple[int, int]
    slices_per_case: float
    voxels: dict[int, int] = field(default_factory=dict)
    pieces: PieceSurvey = field(default_factory=PieceSurvey)


def fingerprint(
    cases: list[Case],
    structures: list[Structure],
    settings: TrainSettings,
    validation: Sequence[Case] = (),
    slices: SliceSettings | None = None,
    former: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Fingerprint:
    """Read the training cases once and decide modality, slicing axis, grid and grey levels.

    Two CTs of 512 x 512 x 100 voxels of 0.8 x 0.8 x 5 mm, whose labelled voxels have grey levels from -20 to 140::

        modality      CT: the DICOM tag says so, or the lowest grey level
        axis          acquisition: slices are 5 / 0.8 > 1.5 times as thick as their pixels
        grid          256 pixels at most, so 512 * 0.8 mm / 256 = 1.6 mm a pixel; median size 256 x 256
        grey levels   -20 to 140 and half of that range on either side: a window from -100 to 220

    :param validation: validation cases; an error names the one that has a class which no training case has.
    :param slices: axis, grid and grey levels of the continued model, which are kept; None: a new model.
    :param former: modality of the continued model. Images whose modality is unknown count as this one, or else as that
        of the other images, or as "OTHER".
    :param say: called with a sentence for each decision that reading a case took.
    :raises ClassesError: no training case holds a voxel of a class.
    :raises ModalityError: the images are of several modalities.
    """
    survey = _survey(cases, structures, settings.modality, slices.axis if slices else settings.axis, say)
    modality = _common_modality(survey.modalities, former)
    _check_every_class_occurs(structures, survey.voxels, survey.unannotated, validation)
    if slices is None:
        spacing, size = _grid(np.array(survey.sides), np.array(survey.extents), settings, survey.physical)
        slices = SliceSettings(_normalization(modality, survey.levels), axis=survey.axis, spacing=spacing, size=size)
    mean_count = float(np.mean(survey.counts))
    return Fingerprint(modality, slices, _median_size(survey, slices), mean_count, survey.voxels, survey.pieces)


@dataclass
class _Survey:
    """Measurements of the training cases; each list has an entry for each case.

    :param axis: slicing axis; if it is not given, the first case decides it.
    :param voxels: number of voxels of each label value; ``unannotated``: whether any voxel is not annotated.
    :param counts: number of slices; ``sides``: their rows and columns; ``extents``: the same in mm.
    :param levels: percentiles 0.5 and 99.5 of the grey levels of labelled voxels, for cases that have some.
    :param modalities: modalities of the images; "" if one is unknown.
    """

    axis: str | None
    voxels: dict[int, int]
    pieces: PieceSurvey
    unannotated: bool = False
    physical: bool = True
    counts: list[int] = field(default_factory=list)
    sides: list[tuple[int, int]] = field(default_factory=list)
    extents: list[list[float]] = field(default_factory=list)
    levels: list[np.ndarray] = field(default_factory=list)
    modalities: set[str] = field(default_factory=set)


def _survey(
    cases: list[Case], structures: list[Structure], modality: str | None, axis: str | None, say: Callable[[str], None]
) -> _Survey:
    survey = _Survey(axis, dict.fromkeys((structure.id for structure in structures), 0), PieceSurvey(structures))
    for case in cases:
        volume, values = load_case(case, structures, filled=True)
        for note in volume.notes:
            say(note)
        survey.modalities.add(modality or _modality(volume))
        survey.axis = survey.axis or (ACQUISITION if is_stack(volume.size, volume.spacing) else "axial")
        # A stack on any grid has the native slices; the grid of the model is decided after all cases.
        stack = SliceStack(volume, SliceSettings(Normalization("range", 0, 1), axis=survey.axis, size=1))
        survey.counts.append(len(stack))
        survey.sides.append(stack.native_size)
        survey.extents.append([n * s for n, s in zip(stack.native_size, stack.native_spacing, strict=True)])
        for value in survey.voxels:
            survey.voxels[value] += int((values == value).sum())
        survey.unannotated = survey.unannotated or bool((values == IGNORE).any())
        survey.pieces.add(values)
        survey.physical = volume.physical
        labelled = volume.array[:, (values > 0) & (values != IGNORE)]
        if labelled.size:
            survey.levels.append(np.percentile(labelled, (0.5, 99.5)))
    return survey


def _common_modality(modalities: set[str], former: str | None) -> str:
    known = modalities - {""} or {former if former in ("CT", "MR") else "OTHER"}
    if len(known) > 1:
        raise ModalityError(
            f"The training images have several modalities: {', '.join(sorted(known))}.",
            "Train one model for each modality, or choose the modality of all images.",
            setting="modality",
        )
    return known.pop()


def _median_size(survey: _Survey, slices: SliceSettings) -> tuple[int, int]:
    """Rows and columns of a typical slice on the model's grid."""
    if slices.spacing is None:
        median = np.median(survey.sides, axis=0)
        median = median * slices.size / median.max()
    else:
        median = np.median(survey.extents, axis=0) / slices.spacing
    return tuple(int(n) for n in np.round(median))


def _check_every_class_occurs(
    structures: list[Structure], voxels: dict[int, int], unannotated: bool, validation: Sequence[Case]
) -> None:
    missing = [s for s in structures if not voxels[s.id]]
    if missing:
        for case in validation:
            if (case_labels(case, structures).array == missing[0].id).any():
                raise ClassesError(
                    f"Class '{missing[0].name}' occurs only in the validation ({case.id}), not in the training.",
                    "Move a case with it to the training part, or leave the class out.",
                    setting=("split", "classes"),
                )
        raise ClassesError(
            f"No training label holds a voxel of '{missing[0].name}'.",
            "Correct the labels, or leave the class out." + (f" {MASK_REMEDY}" if unannotated else ""),
            setting="classes",
        )


def _modality(volume: Volume) -> str:
    """Modality of a training image; "" if its grey levels do not tell, "OTHER" for grey pictures."""
    kind = modality_of(volume.array, volume.modality, volume.channels == 3, volume.physical)
    return kind if kind or volume.physical else "OTHER"


def _grid(sides: np.ndarray, extents: np.ndarray, settings: TrainSettings, physical: bool):
    """Spacing of the model's grid in mm (rows, columns), or its longest side in pixels; the other is None."""
    longest = settings.size or int(np.clip(np.median(sides.max(axis=1)), 160, 256))
    if not physical:
        return None, longest
    spacing = float(np.median(extents.max(axis=1))) / longest
    return (round(spacing, 4),) * 2, None


def _normalization(modality: str, levels: list[np.ndarray]) -> Normalization:
    if modality == "CT":
        low, high = np.min(levels), np.max(levels)
        margin = (high - low) / 2  # so that the surroundings of a structure stay visible
        return Normalization("window", float(max(-1024, round(low - margin))), float(min(3071, round(high + margin))))
    if modality == "RGB":
        return Normalization("range", 0.0, 255.0)
    return Normalization("percentile", 0.5, 99.5)


@dataclass
class PreparedCase:
    """One case on the model's grid: grey (N, C, h, w) float16 in 0..1, target (N, h, w) class indices.

    :param annotated: slices with an annotated pixel; ``foreground``: those with a structure.
    :param former: slices kept of a model that is continued, which make up half of each epoch.
    :param filled: slices that were not drawn wholly, but filled; ``weights``: of all slices (N,), the share of the
        epochs that show them; None: 1.
    """

    id: str
    grey: np.ndarray | StoredArray
    target: np.ndarray | StoredArray
    annotated: list[int]
    foreground: list[int]
    former: bool = False
    filled: list[int] = field(default_factory=list)
    weights: np.ndarray | None = None


def prepare(
    cases: list[Case],
    structures: list[Structure],
    slices: SliceSettings,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    filled_weight: float | None = None,
) -> list[PreparedCase]:
    """Resample every case to the model's grid, into files in the folder.

    Pixels on both sides of an outline that was filled count as not annotated: a filling is least sure of them, and the
    drawn slices show where outlines are.

    :param filled_weight: of slices that were filled, in comparison to drawn ones; None: leave them out.
    :raises TrainingDataError: no slice of any case is annotated.
    """
    private_folder(folder)
    prepared, filled = [], bool(filled_weight)
    for number, case in enumerate(cases):
        volume, values = load_case(case, structures, filled)
        stack = SliceStack(volume, slices)
        target = _targets(stack.oriented(values), structures, stack.size)
        drawn = None
        if case.drawn is not None and filled:
            drawn = stack.oriented(drawn_voxels(values.shape, case.drawn, case.label.name))
            target[_outlines(target) & ~_on_grid(drawn.astype(np.uint8), stack.size).astype(bool)] = IGNORE
        grey = np.concatenate([stack.grey(k, k + 1).half().numpy() for k in range(len(stack))])
        annotated = [k for k in range(len(stack)) if (target[k] != IGNORE).any()]
        foreground = [k for k in annotated if ((target[k] > 0) & (target[k] != IGNORE)).any()]
        arrays = [
            _stored(folder / f"{number}_{name}.npy", array) for name, array in (("grey", grey), ("target", target))
        ]
        prepared.append(PreparedCase(case.id, *arrays, annotated, foreground))
        if drawn is not None:
            _weigh(prepared[-1], drawn, filled_weight)
        if progress:
            progress(number + 1, len(cases))
    if not any(case.foreground for case in prepared):
        raise TrainingDataError("No training slice is annotated.", "Segment at least one slice, or check the labels.")
    return prepared


def _weigh(case: PreparedCase, drawn: np.ndarray, filled_weight: float) -> None:
    """Give a slice the weight 1 where it was drawn, less where it was filled, and between where drawn ones cross it.

    :param drawn: (N, H, W) bool.
    """
    share = drawn.mean((1, 2))
    case.filled = [k for k in case.annotated if share[k] < 1]
    case.weights = np.where(share < 1, filled_weight + (1 - filled_weight) * share, 1.0)


def _targets(values: np.ndarray, structures: list[Structure], size: tuple[int, int]) -> np.ndarray:
    """Class indices (N, h, w) on the model's grid from label values (N, H, W)."""
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    for index, structure in enumerate(structures, start=1):
        table[structure.id] = index
    return _on_grid(table[values], size)


def _on_grid(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest values (N, h, w) on the model's grid, from uint8 (N, H, W)."""
    slices = torch.from_numpy(np.ascontiguousarray(values)).unsqueeze(1)
    return F.interpolate(slices, size=size, mode="nearest-exact")[:, 0].numpy()


def _outlines(target: np.ndarray) -> np.ndarray:
    """(N, h, w) bool, the annotated pixels beside an annotated one of another class in the same slice."""
    found = np.zeros(target.shape, bool)
    for view, result in ((target, found), (target.transpose(0, 2, 1), found.transpose(0, 2, 1))):
        one, other = view[:, 1:], view[:, :-1]
        step = (one != other) & (one != IGNORE) & (other != IGNORE)
        result[:, 1:] |= step
        result[:, :-1] |= step
    return found


def _stored(path: Path, array: np.ndarray) -> StoredArray:
    try:
        with open_private(path) as file:
            np.save(file, array)
    except OSError as error:
        raise output_error(path, error) from error
    return StoredArray(path)
