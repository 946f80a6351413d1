"""Slicer's own look at model files, which nobody has checked: whatever they say, the list is there."""

import json
import os
import struct

import pytest

CARD = {
    "schema_version": 1, "name": "one", "version": "1.0", "description": "", "modality": "CT", "license": "CC0-1.0",
    "classes": [{"name": "lung"}], "metrics": None, "base": {"id": "nano"},
    "slices": {"axis": "axial", "spacing": None}, "training": {"settings": {}},
    "created": "2026-01-01T00:00:00+00:00", "digest": "sha256:0",
}  # fmt: skip


@pytest.fixture
def models(slicerCore, tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def own():
    """The one model in the user's folder."""
    from SAM2AdaptLib.Models import Catalog

    (model,) = (model for model in Catalog.modelList() if model.where == "own")
    return model


def listed(folder, **changes):
    header = json.dumps({"__metadata__": {"sam2adapt": json.dumps(CARD | changes)}}).encode()
    (folder / "one.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return own()


def test_odd_cards_are_models_with_a_problem(models):
    assert listed(models).problem == ""
    odd = {
        "name": {}, "version": 1, "modality": None, "classes": 3, "created": "9" * 30, "base": {"id": []}, "slices": [],
        "metrics": {"dice": {"mean": "x"}}, "schema_version": "2",
    }  # fmt: skip
    for field, value in odd.items():
        assert "damaged" in listed(models, **{field: value}).problem, field
    deep = []
    for _ in range(900):
        deep = [deep]
    assert listed(models, training=deep).name == "one"


def test_texts_cannot_pretend_to_be_others(models):
    model = listed(models, name="a\u202eb", license="\x1b[31m", description="two\nlines\u2066")
    assert (model.name, model.license, model.description) == ("a\\u202eb", "\\u001b[31m", "two\nlines\\u2066")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_among_models_does_not_block_slicer(models):
    os.mkfifo(models / "pipe.safetensors")
    assert "is a pipe" in own().problem
