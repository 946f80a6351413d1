"""The ablation of filling takes away what it says, on today's engine."""

import numpy as np
import pytest
from drawn_phantom import DRAWN, phantom
from fill_ablation import ABLATIONS
from fill_cases import FillCase
from sam2adapt.filling import filler, learner, stack_filler, trees
from sam2adapt.filling.opinions.evidence import OPINIONS

IMAGE, BASE = 25, 12  # features of a pixel


@pytest.fixture
def seen(monkeypatch):
    """What the engine does during a filling, with learners that learn next to nothing."""
    monkeypatch.setattr(learner, "_STEPS", 2)
    monkeypatch.setattr(trees, "_ROUNDS", 2)
    seen = {}

    def spy(owner, name, tell):
        real = getattr(owner, name)

        def call(*given):
            result = real(*given)
            tell(given, result)
            return result

        monkeypatch.setattr(owner, name, call)

    spy(learner.PixelLearner, "fit", lambda given, _: seen.update(inputs=given[1].shape[1]))
    spy(trees.Trees, "fit", lambda given, _: seen.update(trees=True))
    spy(stack_filler, "adapt", lambda given, _: seen.update(adapted=True))
    spy(learner, "_limits", lambda given, _: seen.update(limits=True))
    spy(filler, "thresholds", lambda given, _: seen.update(threshold=True))
    spy(filler, "load_combiner", lambda given, _: seen.update(start=True))
    return seen


def test_each_takes_away_what_it_says(seen):
    volume, truth = phantom()
    case = FillCase("phantom", "phantom", volume, truth.astype(np.uint8))
    alone = {"inputs": OPINIONS + IMAGE, "trees": True, "limits": True, "threshold": True}
    whole = alone | {"adapted": True, "start": True}
    expected = {name: {"start": True} for name in ("flow only", "growth only", "grey growth only", "nano, prompted")}
    for kind, parts in (("learner", alone), ("ours", whole)):
        expected[f"{kind}: no image"] = parts | {"inputs": OPINIONS}
        expected[f"{kind}: nano"] = parts | {"inputs": OPINIONS + BASE}
        expected[f"{kind}: both"] = parts | {"inputs": OPINIONS + IMAGE + BASE}
        expected[f"{kind}: networks"] = {name: value for name, value in parts.items() if name != "trees"}
        expected[f"{kind}: trees"] = parts
    expected["learner: grey"] = alone
    expected["ours: heard once"] = whole
    expected["ours: untrained start"] = {name: value for name, value in whole.items() if name != "start"}
    for name, part in (("threshold of a half", "threshold"), ("opinions without limits", "limits")):
        expected[f"ours: {name}"] = {name: value for name, value in whole.items() if name != part}
    expected["no adaptation"] = {name: value for name, value in whole.items() if name != "adapted"}
    assert set(expected) == set(ABLATIONS)
    answers = {}
    for name, method in ABLATIONS.items():
        seen.clear()
        answers[name] = method(case, DRAWN)
        assert np.array_equal(answers[name][DRAWN], case.truth[DRAWN]), name
        assert seen == expected[name], name
    assert not np.array_equal(answers["flow only"], answers["grey growth only"])
