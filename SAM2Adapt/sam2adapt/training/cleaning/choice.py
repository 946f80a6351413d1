"""Let a model keep only the largest piece of what its training volumes show in one piece.

A network that learnt from a few volumes also finds organs where they are not, mostly apart from where they are. As in
nnU-Net (Isensee et al. 2021, "empirical postprocessing"), the largest piece of all organs together is tried first, then
that of each, and what costs no Dice stays; here on training volumes, if there are none for validation.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ...evaluation.cases import Case
from ...evaluation.evaluate import Slices, dice_after
from ...modelfiles.summary import cleaning_steps
from ...segmenting.model import Model
from ...shared.errors import UserError
from .survey import EACH, TOGETHER, PieceSurvey

_MOST_JUDGED = 10  # volumes that are segmented once more


def drop_pieces(
    model: Model,
    pieces: PieceSurvey,
    cases: Sequence[Case],
    subset: str,
    slices: Slices | None,
    say: Callable[[str], None],
) -> None:
    """Let segmenting keep only the largest piece of what is in one piece in the training volumes, if it costs no Dice.

    Changes the card's ``postprocessing``, and notes in its ``training`` what that does to Dice.

    :param pieces: of the training volumes.
    :param cases: to measure on; ``subset``: what they are, "val" or "train"; ``slices``: see ``evaluate``.
    """
    steps, given = pieces.steps(), model.card["postprocessing"]
    if not any(steps.values()):
        return
    try:
        judged = choose_steps(model, steps, cases, slices)
    except UserError as error:  # what was learnt must not be lost for it
        say(f"Whether the largest pieces of organs are enough could not be measured, so all are kept: {error}")
        return
    if model.card["postprocessing"] == given:
        return
    model.card["training"]["largest_pieces"] = {"subset": subset, **judged}
    measured = f"{judged['cases']} {'validation' if subset == 'val' else 'training'} case{'s' * (judged['cases'] > 1)}"
    say(
        f"In the training volumes, organs are in one piece, so segmenting cleans: {cleaning_steps(model.card)}. Dice on"
        f" {measured}: {judged['after']:.4f}, without that {judged['before']:.4f}. The setting 'keep pieces' turns it"
        " off."
    )


def choose_steps(
    model: Model, steps: dict[str, list[int]], cases: Sequence[Case], slices: Slices | None = None
) -> dict[str, float]:
    """Put those steps into the model's card that cost no Dice, after those that are in it already.

    :param steps: label values of ``largest_together`` and ``largest_component``.
    :param cases: to measure on; no more than ten of them are segmented. ``slices``: see ``evaluate``.
    :return: Dice ``before`` and ``after`` that, and the number of ``cases``.
    """
    given, judged = model.card["postprocessing"], cases[:_MOST_JUDGED]
    new = {name: [number for number in ids if number not in given.get(name, [])] for name, ids in steps.items()}
    joined = _with(given, TOGETHER, new[TOGETHER])
    variants = [given, joined, _with(given, EACH, new[EACH]), _with(joined, EACH, new[EACH])]
    dice = dice_after(model, judged, variants, slices)
    start, best = 0, given
    if new[TOGETHER] and _mean(dice[1]) >= _mean(dice[0]):
        start, best = 1, joined
    index = {structure.id: number for number, structure in enumerate(model.structures)}
    harmless = [number for number in new[EACH] if not dice[start + 2][index[number]] < dice[start][index[number]]]
    model.card["postprocessing"] = _with(best, EACH, harmless)
    after = dice[start].copy()
    rows = [index[number] for number in harmless]
    after[rows] = dice[start + 2][rows]
    return {"cases": len(judged), "before": _mean(dice[0]), "after": _mean(after)}


def _with(given: dict, step: str, ids: list[int]) -> dict:
    return {**given, step: sorted({*given.get(step, []), *ids})} if ids else given


def _mean(dice: np.ndarray) -> float:
    return round(float(np.nanmean(dice)), 4) if np.isfinite(dice).any() else 0.0
