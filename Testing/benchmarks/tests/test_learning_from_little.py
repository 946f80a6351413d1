"""Learning from a few cases: which ones are drawn, what the table says, and the forest that it compares with."""

from pathlib import Path

import learning_from_little
import numpy as np
import pytest
import SimpleITK as sitk
from pixel_forest import PixelForest
from sam2adapt.evaluation.cases import Case
from sam2adapt.imaging.terminology import describe
from sam2adapt.training.prepare import fingerprint
from sam2adapt.training.settings import TrainSettings


def test_smaller_drawings_are_part_of_larger_ones_and_hold_one_volume_of_a_patient():
    cases = [Case(f"p{k}_frame0{f}", Path("a"), Path("b")) for k in range(9) for f in (1, 2)]
    small, large = (learning_from_little.drawing("acdc", cases, count, seed=3) for count in (2, 5))
    assert large[:2] == small and len({case.id.split("_")[0] for case in large}) == 5
    assert {case.id[-1] for case in large} == {"1", "2"}, "end diastole and end systole by turns"
    assert len(learning_from_little.drawing("curvas2d", cases, 2, seed=3)) == 8, "four pictures count as a volume"


@pytest.mark.parametrize(("forest", "verdict"), [(0.5, "holds"), (0.58, "falls short")])
def test_table_tells_by_how_much_the_preset_is_ahead_of_the_best_other(forest, verdict):
    dice = {"nano": (0.6, 0.6), "BasicUNet": (0.4, 0.5), "forest": (forest, forest)}
    rows = [
        {"set": "acdc", "method": method, "count": "5", "seed": seed, "minutes": "10", "threads": "2", "dice": value}
        for method, values in dice.items()
        for seed, value in enumerate(values)
    ]
    text = learning_from_little.table(rows)
    ahead = f"{0.6 - forest:+.3f}"
    assert f"| acdc | 5 | 0.600 (0.600 to 0.600) | 0.450 (0.400 to 0.500) | {forest:.3f}" in text
    assert f"{ahead} |" in text and f"ahead on each): {verdict}." in text


def test_forest_learns_grey_levels_and_is_measured_on_other_cases(tmp_path):
    random, cases = np.random.default_rng(0), []
    for number in range(3):
        truth = np.zeros((4, 24, 24), np.uint8)
        truth[:, 6 + number : 16, 8:18] = 1
        grey = (100 * truth + random.normal(0, 5, truth.shape)).astype(np.float32)
        paths = [tmp_path / f"{kind}{number}.nii.gz" for kind in ("image", "label")]
        for path, array in zip(paths, (grey, truth), strict=True):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
        cases.append(Case(str(number), *paths))
    structures = [describe(1, "liver")]
    forest = PixelForest(structures, fingerprint(cases[:2], structures, TrainSettings()).slices, threads=1, seed=0)
    assert forest.fit(cases[:2], minutes=0.005) > 0
    found = forest.evaluate(cases[2:])
    assert found["mean"] == pytest.approx(found["liver"])
    assert found["mean"] > 0.95
