"""Which models fit a volume by their cards, and which slices a trial gets."""

import pytest
from sam2adapt.shared.model_fit import SliceShape, fits_shape, slices_to_send, trial_score, trial_slices


def test_extent_and_voxels_are_near_those_of_the_training():
    shapes = {SliceShape(50, 1.0): True, SliceShape(20, 1.0): False, SliceShape(180, 1.0): False}
    shapes |= {SliceShape(50, 3.0): False, SliceShape(90, 1.5): True}
    for shape, fits in shapes.items():
        assert fits_shape(0.39, 128, shape) is fits, shape
        assert fits_shape(None, 288, shape)  # a model that scales every slice knows no millimetres


@pytest.mark.parametrize("count", range(1, 40))
def test_the_slices_that_are_sent_hold_those_that_are_tried_where_they_are_looked_for(count):
    tried, sent = trial_slices(count), slices_to_send(count)
    assert len(tried) == min(3, count) and len(sent) <= 9 and sent == sorted(set(sent)) and sent[-1] < count
    assert [sent[index] for index in trial_slices(len(sent))] == tried
    neighbours = {index + offset for index in tried for offset in (-1, 0, 1)}
    assert neighbours & set(range(count)) <= set(sent)


def test_a_trial_is_plausible_if_the_model_is_sure_and_stays_with_its_answer():
    assert trial_score(0.0, 0.0) == 1 and trial_score(1.0, 0.0) == trial_score(0.0, 1.0) == 0
