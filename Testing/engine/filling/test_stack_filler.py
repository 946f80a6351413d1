"""Grids and slices of a filling: small structures on half pixels, and slices that agree with those beside them."""

import numpy as np
from sam2adapt.filling import filler
from sam2adapt.filling.combiner import Combiner
from sam2adapt.filling.plane_grid import make_grid
from sam2adapt.filling.stack_filler import StackFiller
from sam2adapt.filling.threads import Team


def test_small_drawings_are_filled_on_half_pixels_and_come_back_as_they_were():
    drawn = np.zeros((90, 80), bool)
    drawn[30:50, 20:50] = True
    drawn[30:34, 20:26] = False
    grid = make_grid(drawn, (1.0, 1.0))
    assert grid.pixel == 0.5
    assert grid.size == (72, 92)  # 20 + 2 * 8 and 30 + 2 * 8 pixels, halved
    work = grid.to_work(drawn)
    maps = np.where(work, 1.0, -1.0).astype(np.float32)[None]
    np.testing.assert_array_equal(grid.to_volume(maps)[0] > 0, drawn[grid.box])

    large = make_grid(np.ones((90, 80), bool), (1.0, 1.0))
    assert (large.pixel, large.size) == (1.0, (90, 80))


def _filler(step: float, said: dict[int, float]) -> StackFiller:
    """Three structures in slices 0 to 5; the third has no drawing, the second is drawn in slice 3, too."""
    filler = StackFiller(np.zeros((6, 4, 4), np.float32), step, Combiner(), Team(1))
    masks = {k: np.ones((4, 4), bool) for k in (0, 5)}
    filler.evidence.carry([masks, masks | {3: masks[0]}, {}], lambda share: None)
    filler._answer = lambda slice_: np.stack([np.full((4, 4), x) for x in (said[slice_], said[slice_], -np.inf)])
    return filler


def test_near_slices_agree_and_far_ones_do_not():
    said = {1: 10.0, 2: 1.0, 3: -2.0, 4: 1.0}
    logits = _filler(1.0, said).logits(2)
    np.testing.assert_allclose(logits[0], 1 + 0.3 * ((4 - 2) / 2 - 1))  # the 10 beside counts as 4
    np.testing.assert_allclose(logits[1], 1 + 0.3 * ((4 + 4) / 2 - 1))  # what is drawn beside is certain
    assert np.isneginf(logits[2]).all()
    np.testing.assert_allclose(_filler(4.0, said).logits(2)[0], 1 + 0.3 / 16 * ((4 - 2) / 2 - 1), rtol=1e-3)
    np.testing.assert_allclose(_filler(1.0, said).logits(4)[0], 1 + 0.3 * ((-2 + 4) / 2 - 1))


def test_pieces_are_numbered_apart_however_many_there_are():
    few = np.zeros((3, 4, 4), bool)
    few[0, 0, 0] = few[1, 1, 1] = few[2, 3, 3] = True
    pieces, count = filler._pieces(few)
    assert (count, pieces.dtype) == (2, np.uint16)
    assert pieces[0, 0, 0] == pieces[1, 1, 1] != pieces[2, 3, 3]

    many = np.zeros((81, 81, 81), bool)
    many[::2, ::2, ::2] = True
    pieces, count = filler._pieces(many)
    assert count == many.sum() > np.iinfo(np.uint16).max
    assert len(np.unique(pieces[many])) == count
