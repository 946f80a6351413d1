"""Which slices of a training case were drawn by hand, and which were filled between them.

Beside a label map ``NAME.nii.gz`` lies ``NAME.drawn.json``: ``{"K": [0, 4, 8]}``, the slices that were drawn, counted
from 0 along the array axes K, J and I of the voxels. All else that is annotated was filled, and weighs less in a
training. Without such a file everything was drawn.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import paths
from ..errors import TrainingDataError
from ..files import write_json
from ..slicing_axis import ARRAY_AXES
from .image_names import stem_of

SUFFIX = ".drawn.json"

NOT_ANNOTATED, DRAWN, FILLED = 0, 1, 2


def path_beside(label: str | os.PathLike) -> Path:
    """The file that says which slices of a label file were drawn."""
    return Path(label).with_name(stem_of(label) + SUFFIX)


def write_drawn_slices(label: str | os.PathLike, drawn: Mapping[str, Sequence[int]]) -> None:
    """Say which slices of a label file were drawn.

    :param drawn: by array axis, "K", "J" or "I".
    :raises OutputError: the file cannot be written.
    """
    write_json(path_beside(label), {axis: [int(place) for place in places] for axis, places in drawn.items()})


def read_drawn_slices(label: str | os.PathLike) -> dict[str, list[int]] | None:
    """The slices of a label file that were drawn, by array axis; None if nothing was filled.

    :raises TrainingDataError: the file beside it says something else.
    """
    path = path_beside(label)
    if not paths.is_file(path):
        return None
    try:
        drawn = json.loads(paths.read_text(path))
    except ValueError as error:
        raise TrainingDataError(f"'{path}' is not JSON: {error}.", "Correct the file, or remove it.") from error
    if not isinstance(drawn, dict) or not all(_are_slices(axis, places) for axis, places in drawn.items()):
        raise TrainingDataError(
            f"'{path}' does not say which slices were drawn.", 'It must look like {"K": [0, 4, 8]}; or remove it.'
        )
    return drawn


def drawn_voxels(shape: tuple[int, int, int], drawn: Mapping[str, Sequence[int]], what: str) -> np.ndarray:
    """(K, J, I) bool, true in the slices that were drawn.

    :param what: the name of the label file, for messages.
    :raises TrainingDataError: there is no such slice.
    """
    result = np.zeros(shape, bool)
    for axis, places in drawn.items():
        length = shape[ARRAY_AXES.index(axis)]
        if strange := [place for place in places if place >= length]:
            raise TrainingDataError(
                f"'{what}': slice {strange[0]} along {axis} counts as drawn, and the last one is {length - 1}.",
                f"Correct '{path_beside(what).name}' beside it: slices are counted from 0.",
            )
        np.moveaxis(result, ARRAY_AXES.index(axis), 0)[list(places)] = True
    return result


def slice_states(present: np.ndarray, drawn: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """What is known of each slice of a volume in which several structures were drawn and filled, each in its slices.

    Labels of a slice need all structures. A structure without voxels in a slice in which others are drawn is not
    there. Between drawn slices, where it was not filled, it is unknown if one of the two neighbours shows it::

        slice   0       1       2       3               4       5       6
        liver   drawn   filled  drawn   filled          drawn   filled  drawn
        cyst    drawn   filled  drawn   unknown         no      no      no
        state   DRAWN   FILLED  DRAWN   NOT_ANNOTATED   DRAWN   FILLED  DRAWN

    :param present: (S, N) bool, whether each of S structures has voxels in each of N slices.
    :param drawn: (S, N) bool, whether it is drawn there, or declared empty; ``filled``: whether it was filled there.
    :return: (N,) DRAWN, FILLED or NOT_ANNOTATED.
    """
    any_drawn, any_filled = drawn.any(0), filled.any(0)
    states = np.where(any_drawn, np.where(any_filled, FILLED, DRAWN), NOT_ANNOTATED)
    whole = np.flatnonzero(any_drawn)
    shown = present & drawn
    for place in np.flatnonzero(any_filled & ~any_drawn):
        beside = [*whole[whole < place][-1:], *whole[whole > place][:1]]
        unknown = ~filled[:, place] & shown[:, beside].any(1)
        states[place] = NOT_ANNOTATED if unknown.any() else FILLED
    return states


def _are_slices(axis: object, places: object) -> bool:
    return (
        axis in ARRAY_AXES
        and isinstance(places, list)
        and all(isinstance(place, int) and not isinstance(place, bool) and place >= 0 for place in places)
    )
