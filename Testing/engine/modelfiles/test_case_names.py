"""Model files call their cases by numbers; what the numbers stand for stays on the machine that trained them."""

import json

import pytest
from example_models import card, write_model
from sam2adapt.modelfiles import catalog
from sam2adapt.modelfiles.bundle import read_bundle
from sam2adapt.modelfiles.card import read_card, read_verified_card
from sam2adapt.modelfiles.case_names import names_in, neutral, read_names, with_names, write_names
from sam2adapt.shared import files

NAMED = {
    "training__split": {"train": ["DOE_JOHN", "ROE"], "val": ["Müller"], "val_slices": {"ROE": [3]}},
    "metrics": {"subset": "val", "dice": {"mean": 0.5}, "cases": [{"id": "Müller", "dice": {}}]},
}
NUMBERED = {"train": ["case 1", "case 2"], "val": ["case 3"], "val_slices": {"case 2": [3]}}
TABLE = {"case 1": "DOE_JOHN", "case 2": "ROE", "case 3": "Müller"}


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(files, "bundled_folder", lambda: tmp_path / "bundled")
    return write_model(tmp_path / "home" / "models" / "old.safetensors", **NAMED)


def test_names_become_numbers_and_numbers_names(own):
    old = read_card(own)
    new, table = neutral(old)
    assert (new["training"]["split"], table) == (NUMBERED, TABLE)
    assert new["metrics"]["cases"][0]["id"] == "case 3"
    assert names_in(new) == [] and neutral(new) == (new, {})
    write_names(new["digest"], table)
    assert with_names(new) == old and read_names("sha256:none") == {}
    if hasattr(files.os, "geteuid"):
        file = files.case_names_file(new["digest"])
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_number_that_is_taken_is_given_to_no_other_case():
    mixed = card(training__split={"train": ["case 1", "ROE"], "val": []}, metrics=None)
    assert neutral(mixed)[0]["training"]["split"]["train"] == ["case 1", "case 2"]


@pytest.mark.parametrize("write", ["add", "export"])
def test_a_copy_of_an_older_model_has_no_names_and_that_is_said(write, own, tmp_path, caplog):
    target = tmp_path / "copy.safetensors"
    if write == "add":
        own.rename(source := tmp_path / "gift.safetensors")
        target = catalog.add_model(source)
        assert catalog.add_model(source) == target
    else:
        source = catalog.export_model("torso CT", target) and own
    new = read_verified_card(target)
    assert new["training"]["split"] == NUMBERED and new["digest"] != read_card(source)["digest"]
    assert not any(name.encode() in target.read_bytes() for name in TABLE.values())
    for name, tensor in read_bundle(source).tensors.items():
        assert tensor.equal(read_bundle(target).tensors[name])
    assert "names the 3 cases" in caplog.messages[-1] and not target.with_name("copy.cases.json").exists()


def test_names_are_given_away_only_by_choice(own, tmp_path):
    catalog.export_model("torso CT", tmp_path / "copy.safetensors", names=True)
    assert json.loads((tmp_path / "copy.cases.json").read_text("utf-8")) == TABLE


def test_models_that_come_with_us_are_of_public_images_and_keep_their_names(own, tmp_path):
    (tmp_path / "bundled").mkdir()
    bundled = own.rename(tmp_path / "bundled" / "old.safetensors")
    assert catalog.export_model("torso CT", tmp_path / "copy.safetensors").read_bytes() == bundled.read_bytes()
