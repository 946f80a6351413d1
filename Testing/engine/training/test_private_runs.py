"""What a training keeps of patients: closed to others while it runs, gone at its end, and no names in the model."""

import json
import os
from pathlib import Path

import pytest
from sam2adapt.modelfiles.card import read_card
from sam2adapt.modelfiles.case_names import read_names
from sam2adapt.shared.errors import CancelledError, OutputError
from sam2adapt.shared.files import home, replay_file
from sam2adapt.training.run import train
from test_training import base, folder, own_home, request_for
from trained import short_epochs

__all__ = ["base", "folder", "own_home", "short_epochs"]


def open_to_others(*places: Path) -> list[Path]:
    """Files with voxels that another user can reach."""
    found = [path for place in places for path in place.rglob("*.np[yz]")]
    assert found
    return [path for path in found if path.stat().st_mode & 0o077 and path.parent.stat().st_mode & 0o077]


def names_of(folder: Path) -> list[str]:
    return sorted(path.name.partition(".")[0] for path in (folder / "images").iterdir())


def test_a_run_is_private_alone_and_leaves_no_slices(folder, base, tmp_path):
    request = request_for(folder, base, tmp_path / "model.safetensors", method="head", settings={"steps": 1})
    refusals = []

    def watch(state) -> None:
        if refusals:
            return
        assert os.name == "nt" or not open_to_others(request.folder)
        with pytest.raises(OutputError, match="Another training writes into") as caught:
            train(request)
        refusals.append(caught.value.message)

    card = read_card(train(request, watch))
    assert len(refusals) == 1
    assert not list(request.folder.rglob("*.npy")) and os.listdir(home() / "claims") == []
    names = names_of(folder)
    content = request.output.read_bytes()
    assert not any(f'"{name}"'.encode() in content for name in names)
    cases = [*card["training"]["split"]["train"], *card["training"]["split"]["val"]]
    assert sorted(cases) == [f"case {number}" for number in range(1, len(names) + 1)]
    assert sorted(read_names(card["digest"]).values()) == names
    split = json.loads((request.folder / "split.json").read_text("utf-8"))
    assert sorted(split["train"] + split["val"]) == names
    assert os.name == "nt" or not open_to_others(replay_file(card["digest"]).parent)
    assert os.name == "nt" or (request.folder / "split.json").stat().st_mode & 0o077 == 0


def test_slices_go_when_a_run_is_cancelled(folder, base, tmp_path):
    request = request_for(folder, base, tmp_path / "model.safetensors", method="head", settings={"steps": 1})
    with pytest.raises(CancelledError):
        train(request, cancelled=lambda: True)
    assert not list(request.folder.rglob("*.npy"))
    assert os.listdir(home() / "claims") == []
