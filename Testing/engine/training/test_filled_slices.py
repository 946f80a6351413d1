"""Training on slices that were filled between drawn ones: what counts as annotated, and how often each is shown."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from conftest import blobs
from sam2adapt.evaluation.cases import Case, find_cases
from sam2adapt.evaluation.load_case import load_case
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import write_volume
from sam2adapt.shared.errors import TrainingDataError
from sam2adapt.shared.labels.annotation import IGNORE
from sam2adapt.shared.labels.drawn_slices import DRAWN, FILLED, NOT_ANNOTATED, slice_states, write_drawn_slices
from sam2adapt.training.prepare import fingerprint, prepare
from sam2adapt.training.samples import epoch_slices
from sam2adapt.training.settings import TrainSettings
from sam2adapt.training.split import hold_out_slices
from scipy import ndimage

STRUCTURES = [describe(1, "liver")]
PLACES = [0, 3, 6, 9]


@pytest.fixture
def case(tmp_path) -> Case:
    """Twelve slices, of which 0 to 9 are annotated and every third of these is drawn."""
    volume = blobs((20, 24, 12))
    labels = np.full((1, 12, 24, 20), IGNORE, np.uint8)
    labels[0, :10] = 0
    labels[0, :10, 4:15, 4:12] = 1
    for name, one in (("images", volume), ("labels", volume.with_array(labels))):
        (tmp_path / name).mkdir()
        write_volume(tmp_path / name / "a.nii.gz", one)
    write_drawn_slices(tmp_path / "labels" / "a.nii.gz", {"K": PLACES})
    (found,) = find_cases(tmp_path / "images", tmp_path / "labels")
    return found


def prepared_of(case: Case, folder, weight: float | None):
    found = fingerprint([case], STRUCTURES, TrainSettings(size=32))
    return prepare([case], STRUCTURES, found.slices, folder, filled_weight=weight)[0]


def shown(prepared, epochs: int = 12) -> Counter:
    """How often each slice is shown, in shares of the epochs."""
    return Counter(k for epoch in range(epochs) for k in {k for _, k in epoch_slices([prepared], 0, epoch)})


def test_filled_slices_are_shown_in_the_share_of_epochs_that_is_their_weight(case, tmp_path):
    half = prepared_of(case, tmp_path / "half", 0.5)
    assert half.annotated == list(range(10)) and half.filled == [1, 2, 4, 5, 7, 8]
    counts = shown(half)
    assert [counts[k] for k in PLACES] == [12] * 4
    assert sum(counts[k] for k in half.filled) == 12 * 3 and min(counts[k] for k in half.filled) > 0
    assert len({len(epoch_slices([half], 0, epoch)) for epoch in range(12)}) == 1
    usual = prepared_of(case, tmp_path / "usual", TrainSettings().filled_weight)
    assert set(shown(usual, 1)) == set(range(10))
    none = prepared_of(case, tmp_path / "none", 0)
    assert none.annotated == PLACES and (none.target[1] == IGNORE).all()


def test_pixels_at_an_outline_that_was_filled_are_not_learnt_from(case, tmp_path):
    whole = prepared_of(replace(case, drawn=None), tmp_path / "whole", 1.0).target[:10]
    assert np.array_equal(np.unique(whole), [0, 1])
    cross = ndimage.generate_binary_structure(2, 1)[None]
    outline = ndimage.maximum_filter(whole, footprint=cross) != ndimage.minimum_filter(whole, footprint=cross)
    outline[PLACES] = False
    assert outline.any((1, 2)).sum() == 6

    target = prepared_of(case, tmp_path / "prepared", 1.0).target
    assert np.array_equal(target[:10], np.where(outline, IGNORE, whole))
    assert (target[10:] == IGNORE).all()

    write_drawn_slices(case.label, {"K": PLACES, "J": list(range(12))})
    (crossed,) = find_cases(case.image.parent, case.label.parent)
    target = prepared_of(crossed, tmp_path / "crossed", 1.0).target
    outline[:, : whole.shape[1] // 2] = False  # that half is drawn
    assert outline.any() and np.array_equal(target[:10], np.where(outline, IGNORE, whole))


def test_validation_counts_drawn_slices_only(case, tmp_path):
    values = load_case(case, STRUCTURES)[1]
    assert [k for k in range(12) if (values[k] != IGNORE).any()] == PLACES
    prepared = prepared_of(case, tmp_path / "prepared", 1.0)
    prepared.annotated = list(range(10)) * 3  # enough of them for some to be held out
    held = hold_out_slices([prepared])
    assert held and set(held["a"]) <= set(PLACES)


def test_slices_drawn_across_those_of_the_model_weigh_by_their_share(case, tmp_path):
    write_drawn_slices(case.label, {"K": PLACES, "J": [0, 1, 2, 3, 4, 5]})
    (found,) = find_cases(case.image.parent, case.label.parent)
    weights = prepared_of(found, tmp_path / "prepared", 0.5).weights
    assert weights[0] == 1 and weights[1] == pytest.approx(0.5 + 0.5 * 6 / 24)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not JSON"),
        ("[0, 3]", "does not say which slices"),
        ('{"Z": [1]}', "does not say which slices"),
        ('{"K": [-1]}', "does not say which slices"),
        ('{"K": [0, 12]}', "slice 12 along K counts as drawn, and the last one is 11"),
    ],
)
def test_files_that_do_not_say_what_was_drawn_are_refused(case, text, message):
    case.label.with_name("a.drawn.json").write_text(text, encoding="utf-8")
    with pytest.raises(TrainingDataError, match=message) as caught:
        load_case(find_cases(case.image.parent, case.label.parent)[0], STRUCTURES)
    assert "a" in caught.value.message and caught.value.remedy
    if "counts as drawn" in message:
        assert "'a.drawn.json'" in caught.value.remedy


def test_what_is_known_of_a_slice_in_which_other_structures_were_drawn():
    def row(places):
        return np.isin(np.arange(9), places)

    drawn = np.stack([row([0, 2, 4, 6]), row([0, 2]), row([2, 6])])
    filled = np.stack([row([1, 3, 5]), row([1]), row([])])
    present = drawn | filled
    present[2] = False  # declared empty
    states = slice_states(present, drawn, filled).tolist()
    assert states == [DRAWN, FILLED, DRAWN, NOT_ANNOTATED, DRAWN, FILLED, DRAWN, NOT_ANNOTATED, NOT_ANNOTATED]
    filled[2, 4] = True  # drawn of one structure, filled of another
    assert slice_states(present, drawn, filled)[4] == FILLED
