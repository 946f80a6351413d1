"""What hidden drawn slices teach of a structure: how much larger it is drawn, and which opinion is right."""

import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from drawn_phantom import dice
from sam2adapt.filling import learner, trees
from sam2adapt.filling.adaptation import Adaptation, adapt
from sam2adapt.filling.combiner import Combiner
from sam2adapt.filling.opinions.growth import grow_on, preference, seeds
from sam2adapt.filling.stack_filler import StackFiller
from sam2adapt.filling.threads import Team
from sam2adapt.shared.errors import CancelledError

ROWS, COLUMNS = np.mgrid[:40, :40].astype(np.float32)


def disc(radius: float, row: float = 20, column: float = 20) -> np.ndarray:
    """Logits (40, 40), positive inside."""
    return radius - np.hypot(ROWS - row, COLUMNS - column)


def parts(*opinions: np.ndarray) -> np.ndarray:
    return np.stack([*opinions, np.zeros_like(ROWS)])


def test_a_structure_that_is_drawn_larger_than_said_grows():
    said = [parts(disc(radius)) for radius in (8, 9, 10, 11)]
    drawn = [disc(radius) > 0 for radius in (9.5, 10.5, 11.5, 12.5)]
    found = adapt(said, drawn)
    assert found.opinion is None and 0.5 < found.shift < 1.5
    assert dice(found.logits(parts(disc(12))) > 0, disc(13.5) > 0) > 0.02 + dice(disc(12) > 0, disc(13.5) > 0)


def test_an_opinion_that_is_right_alone_outweighs_the_rest():
    said = [parts(2 * disc(8, row=30), 0.5 * disc(radius)) for radius in (8, 9, 10, 11)]
    drawn = [disc(radius) > 0 for radius in (8, 9, 10, 11)]
    found = adapt(said, drawn)
    assert found.opinion == 1
    filled = found.logits(parts(disc(8, row=30), 0.5 * disc(12)))
    assert dice(filled > 0, disc(12) > 0) > 0.8


def test_one_hidden_slice_chooses_no_opinion():
    assert adapt([parts(2 * disc(8, row=30), 0.5 * disc(9))], [disc(9) > 0]).opinion is None


def test_what_is_sure_and_right_changes_nothing():
    mask = disc(9) > 0
    assert adapt([parts(np.where(mask, 20.0, -20.0))], [mask]) == Adaptation()


def test_growth_follows_the_grey_level_to_where_the_structure_has_moved():
    images = [200 * (disc(8, column=column) > 0) / 100.0 for column in (16, 18, 20)]
    costs, _ = seeds(np.stack([images[0] > 0]))
    for here, there in pairwise(images):
        costs = grow_on(costs, here.astype(np.float32), there.astype(np.float32), 2.0)
    for said in preference(costs[:, :2]):
        assert dice(said > 0, images[2] > 0) > 0.99


def test_what_is_learnt_of_a_drawn_slice_does_not_come_from_what_is_drawn_in_it(monkeypatch):
    monkeypatch.setattr(learner, "_STEPS", 60)
    monkeypatch.setattr(learner, "_BATCH", 512)
    random = np.random.default_rng(0)
    truth = [disc(8 + 0.2 * k) > 0 for k in range(13)]
    images = np.stack([mask + random.normal(0, 0.2, mask.shape) for mask in truth]).astype(np.float32)
    drawn = {k: truth[k] for k in range(0, 13, 2)}
    drawn[6] = disc(7, row=10, column=10) > 0  # elsewhere
    filler = StackFiller(images, 1.0, None, Team(1))
    filler.learn([drawn], lambda share: None)
    assert dice(filler.learnt(6)[0] > 0, truth[6]) > 0.85


def test_slices_far_apart_say_less_of_each_other():
    truth = [disc(4 + k) > 0 for k in range(9)]
    images = np.stack(truth).astype(np.float32)
    said = []
    for step in (1.0, 10.0):
        torch.manual_seed(0)
        filler = StackFiller(images, step, Combiner().eval(), Team(1))
        filler.learn([{k: truth[k] for k in (0, 4, 8)}], lambda share: None)
        said.append(np.abs(filler._beside(0, 2) - filler.learnt(2)[0]).mean())
    assert said[1] < 0.1 * said[0]


def test_a_slice_that_is_missed_altogether_does_not_decide_about_the_others():
    said = [parts(disc(radius)) for radius in (8, 9, 10)] + [parts(disc(2) - 8)]
    drawn = [disc(radius) > 0 for radius in (8, 9, 10, 18)]
    assert abs(adapt(said, drawn).shift) < 0.5 < adapt(said[3:], drawn[3:]).shift


def test_where_most_hidden_slices_are_told_badly_a_structure_grows_little():
    """A muscle that was told in the wrong place in two hidden slices of three was filled twice as large everywhere."""
    said = [parts(disc(9, row=8) / 3 - 1), parts(disc(12) / 3), parts(disc(9, row=8) / 3 - 1)]
    drawn = [disc(9) > 0, disc(11) > 0, disc(12) > 0]
    filled = adapt(said, drawn).logits(parts(disc(12) / 3)) > 0
    assert filled.sum() < 1.6 * (disc(12) > 0).sum()


def test_hidden_slices_teach_as_if_their_neighbours_were_nearer():
    stack = StackFiller(np.zeros((9, 40, 40), np.float32), 1.0, None, Team(1))
    stack.evidence.carry([{k: disc(4 + k**2 / 8) > 0 for k in (0, 4, 8)}], lambda share: None)
    found = [stack.evidence.at(0, 4)]
    truth, hidden = stack.evidence.distances[0][4], found[0].maps
    nearer = stack._nearer(found, 4, np.random.default_rng(0))[0].maps
    off, left = np.abs(hidden[:2] - truth), np.abs(nearer[:2] - truth)
    assert off.max() > 1 and (left <= 0.9 * off + 1e-4).all() and (left >= 0.3 * off - 1e-4).all()
    np.testing.assert_array_equal(nearer[2:], hidden[2:])
    assert stack._nearer(found, 3, np.random.default_rng(0)) == found  # of an undrawn slice nothing is known


def test_trees_tell_what_the_networks_doubt(monkeypatch):
    monkeypatch.setattr(learner, "_STEPS", 4)  # too few to learn anything
    monkeypatch.setattr(learner, "_RATE", 1e-9)
    random = np.random.default_rng(0)
    x = random.normal(size=(900, 8 + 3)).astype(np.float32)
    x[:, :8] = 0  # no opinion on either of two structures
    y = np.stack([x[:, 9] > 0.3, np.zeros(900, bool)], 1)
    pixels = learner.PixelLearner()
    pixels.fit(x, y, np.ones_like(y), np.arange(900) % learner.FOLDS, lambda share: None)
    said = pixels.predict(np.ascontiguousarray(x.T[:, :, None]))[..., 0]
    assert ((said[0] > 0) == y[:, 0]).mean() > 0.97
    assert np.abs(said[1]).max() < 1e-6


def test_structures_are_learnt_anew_when_many_drawn_slices_have_changed(monkeypatch):
    monkeypatch.setattr(learner, "_STEPS", 4)
    monkeypatch.setattr(trees, "_ROUNDS", 2)
    grown = []
    plan = trees.Trees.plan
    monkeypatch.setattr(trees.Trees, "plan", lambda self, *sizes: grown.append(sizes) or plan(self, *sizes))
    stack = StackFiller(np.random.default_rng(0).normal(size=(13, 40, 40)).astype(np.float32), 1.0, None, Team(1))
    drawn = {k: disc(8 + k / 4) > 0 for k in (0, 3, 6, 9, 12)}
    for changes, renewed in (({}, 1), ({1: disc(8.5) > 0}, 1), ({3: disc(5) > 0}, 2), ({5: disc(9) > 0}, 2)):
        drawn |= changes
        stack.learn([drawn], lambda share: None)
        assert len(grown) == renewed
    stack.learn([drawn, drawn], lambda share: None)  # another structure: other inputs
    assert len(grown) == 3
    drawn = {k: disc(8 + k / 4) > 0 for k in range(13)}
    for places, renewed in (((0, 6), 4), ((0, 9), 5)):  # half of a structure that is drawn in few of many slices
        stack.learn([drawn, {k: disc(5) > 0 for k in places}], lambda share: None)
        assert len(grown) == renewed


def test_a_further_drawn_slice_changes_the_answer_beside_it_alone(monkeypatch):
    monkeypatch.setattr(learner, "_STEPS", 4)
    monkeypatch.setattr(trees, "_ROUNDS", 2)
    truth = [disc(6 + k / 4) > 0 for k in range(17)]
    images = np.stack(truth) + np.random.default_rng(0).normal(0, 0.2, (17, 40, 40))
    stack = StackFiller(images.astype(np.float32), 1.0, Combiner().eval(), Team(1))
    drawn = {k: truth[k] for k in range(0, 17, 4)}
    answers = []
    for more in ({}, {6: disc(6) > 0}):
        stack.learn([drawn | more], lambda share: None)
        answers.append([stack.logits(k) for k in range(17)])
    same = [np.array_equal(first, second) for first, second in zip(*answers, strict=True)]
    assert all(same[:4]) and not any(same[5:8]) and all(same[9:])


def test_all_is_learnt_anew_when_a_drawing_shows_that_an_answer_was_wrong(monkeypatch):
    monkeypatch.setattr(learner, "_STEPS", 4)
    monkeypatch.setattr(trees, "_ROUNDS", 2)
    fitted = []
    fit = learner.PixelLearner.fit
    monkeypatch.setattr(learner.PixelLearner, "fit", lambda self, *given: fitted.append(1) or fit(self, *given))
    images = np.random.default_rng(0).normal(size=(25, 40, 40)).astype(np.float32)
    first = {k: disc(8) > 0 for k in range(0, 25, 4)}
    second = {k: np.zeros((40, 40), bool) for k in first}
    stack = StackFiller(images, 1.0, Combiner().eval(), Team(1))
    for more, seen, expected in (({}, False, 1), ({6: disc(8) > 0}, False, 1), ({10: disc(8) > 0}, True, 2)):
        first |= more
        second |= {k: disc(3) > 0 if seen else np.zeros((40, 40), bool) for k in more}
        stack.learn([first, second], lambda share: None)
        [stack.logits(k) for k in range(25)]
        assert len(fitted) == expected


@pytest.mark.parametrize("trust, share", [(0.6, 0), (0.65, 0.5), (0.9, 1)])
def test_what_tells_hidden_slices_well_is_heard_once_more_and_only_where_a_structure_may_be(trust, share):
    stack = StackFiller(np.zeros((2, 40, 40), np.float32), 1.0, Combiner().eval(), Team(1))
    stack.trust, stack.adaptations = np.full((1, 5), trust), [Adaptation(0.5)]
    inputs = np.full((19, 40, 40), -4.0, np.float32)
    assert (stack._weighed(inputs, 0) < -15).all()
    window = (slice(10, 14), slice(20, 23))
    inputs[(slice(None), *window)] = 1.0
    whole = Adaptation(0.5).logits(stack._combiner.predict(inputs))[window]
    np.testing.assert_allclose(stack._weighed(inputs, 0)[window], (whole + 4 * share) / (1 + share), rtol=1e-4)


def test_who_stops_does_not_wait_for_the_trees(monkeypatch):
    """A classifier of a large drawing trains for a second, which is too long for a cancel."""
    released = threading.Event()
    monkeypatch.setattr(trees.Trees, "fit", lambda self, *_given: released.wait(20))
    generator, pixels = np.random.default_rng(0), learner.PixelLearner()

    def tell(share):
        if share == 1:  # the networks are trained
            raise CancelledError("Filling was cancelled.", "Nothing was changed.")

    inputs = generator.normal(size=(64, 4 + 2)).astype(np.float32)
    targets = (inputs[:, :1] > 0).astype(np.uint8)
    with pytest.raises(CancelledError):
        pixels.fit(inputs, targets, np.ones_like(targets, bool), np.arange(64) % learner.FOLDS, tell)
    assert not released.is_set()
    released.set()


def test_trees_that_still_grow_after_a_stop_do_not_replace_later_ones(monkeypatch):
    monkeypatch.setattr(learner, "_STEPS", 4)
    monkeypatch.setattr(trees, "_ROUNDS", 2)
    released, ended, made = threading.Event(), threading.Event(), []
    model, fit = trees.Trees._model, trees.Trees.fit

    def slow(self):
        made.append(self)
        if len(made) == learner.FOLDS:  # the last classifier of the training that is stopped
            released.wait(20)
        return model(self)

    def noted(self, *given):
        fit(self, *given)
        ended.set()

    def tell(share):
        if len(made) == learner.FOLDS:
            raise CancelledError("Filling was cancelled.", "Nothing was changed.")

    monkeypatch.setattr(trees.Trees, "_model", slow)
    monkeypatch.setattr(trees.Trees, "fit", noted)
    inputs = np.random.default_rng(0).normal(size=(300, 4 + 2)).astype(np.float32)
    known, fold, pixels = np.ones((300, 1), bool), np.arange(300) % learner.FOLDS, learner.PixelLearner()
    with pytest.raises(CancelledError):
        pixels.fit(inputs, inputs[:, 4:5] > 0, known, fold, tell)
    pixels.fit(inputs, inputs[:, 5:] > 0, known, fold, lambda share: None)
    said = [pixels.predict(np.ascontiguousarray(inputs.T[:, :, None]))]
    ended.clear()
    released.set()
    assert ended.wait(20)
    said.append(pixels.predict(np.ascontiguousarray(inputs.T[:, :, None])))
    np.testing.assert_array_equal(*said)


def test_a_training_that_is_stopped_leaves_nothing_behind(monkeypatch):
    """Or the next one would go on from networks that have hardly learnt, with a quarter of the steps."""
    monkeypatch.setattr(learner, "_STEPS", 12)
    monkeypatch.setattr(trees, "_ROUNDS", 2)
    inputs = np.random.default_rng(0).normal(size=(300, 4 + 2)).astype(np.float32)
    known, fold, said = np.ones((300, 1), bool), np.arange(300) % learner.FOLDS, []

    def tell(share):
        if share > 0.2:
            raise CancelledError("Filling was cancelled.", "Nothing was changed.")

    for stops in (0, 2):
        pixels = learner.PixelLearner()
        for column in (4, 5):  # the second training goes on from the first
            for _ in range(stops):
                with pytest.raises(CancelledError):
                    pixels.fit(inputs, inputs[:, [column]] > 0, known, fold, tell)
            pixels.fit(inputs, inputs[:, [column]] > 0, known, fold, lambda share: None)
            said.append(pixels.predict(np.ascontiguousarray(inputs.T[:, :, None])))
    assert not np.array_equal(said[0], said[1])
    np.testing.assert_array_equal(said[:2], said[2:])
