"""The models and bases that come with the extension: small, described, licensed, and as good as their cards say."""

import pytest
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.modelfiles.card import read_verified_card
from sam2adapt.segmenting.model import load_model
from sam2adapt.shared.files import bundled_folder

NAMES = ["hippocampus-mr", "lumbar-spine-mr", "retinal-vessels", "torso-ct"]
PERMISSIVE = {"CC-BY-4.0", "CC-BY-SA-4.0"}


def path_of(name: str):
    return bundled_folder() / f"{name}.safetensors"


def test_they_are_small():
    """Every version of a file stays in what users clone."""
    files = list(bundled_folder().glob("*.safetensors"))
    assert {path.stem for path in files} == {*NAMES, "nano"}
    assert sum(path.stat().st_size for path in files) < 40e6


@pytest.mark.parametrize("name", NAMES)
def test_cards_are_whole(name):
    card = read_verified_card(path_of(name))
    assert (card["name"], card["base"]["id"]) == (name, "nano")
    assert card["license"] in PERMISSIVE and "not a clinical model" in card["description"]
    assert card["metrics"]["dice"]["mean"] > 0.5 and card["training"]["data"]["summary"]


@pytest.mark.parametrize(
    ("name", "case"),
    [("hippocampus-mr", "hippocampus_006"), ("retinal-vessels", "10L"), ("lumbar-spine-mr", "1132_12")],
)
def test_a_validation_case_is_segmented_as_the_card_says(name, case, data_path, tmp_path):
    bundled_models = pytest.importorskip("bundled_models")
    recipe = bundled_models.RECIPES[name]
    (found,) = [c for c in bundled_models.cases_of(recipe, data_path, tmp_path)["val"] if c.id == case]
    model = load_model(path_of(name))
    (expected,) = [entry for entry in model.card["metrics"]["cases"] if entry["id"] == case]
    (measured,) = evaluate(model, [found])["cases"]
    for structure, dice in expected["dice"].items():
        if dice is not None:
            assert measured["dice"][structure] == pytest.approx(dice, abs=0.02)
