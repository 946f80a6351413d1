"""Continuing a model: its slices are shown again, and what it forgets is measured and not taken silently."""

import numpy as np
import pytest
import torch
from adapted import tiny_network
from conftest import SMALL, random_base, write_base
from sam2adapt.cli import app
from sam2adapt.evaluation.cases import find_cases
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import Volume, write_labels, write_volume
from sam2adapt.modelfiles.bundle import read_bundle, read_card
from sam2adapt.modelfiles.case_names import with_names
from sam2adapt.modelfiles.catalog import remove_model
from sam2adapt.network import base as base_module
from sam2adapt.shared.errors import ModalityError
from sam2adapt.shared.files import replay_file
from sam2adapt.shared.labels.annotation import IGNORE
from sam2adapt.training.replay import (
    MOST,
    Kept,
    Replay,
    as_cases,
    former_dice,
    gather,
    merged,
    read_replay,
    write_replay,
)
from sam2adapt.training.run import train
from sam2adapt.training.samples import epoch_slices
from sam2adapt.training.settings import TrainRequest, TrainSettings
from trained import CPU, discs, short_epochs

__all__ = ["short_epochs"]
NAMES = ["bright", "dark"]


def kept(count: int, classes=NAMES, value: int = 1, level: int = 100) -> Kept:
    target = np.zeros((count, 32, 32), np.uint8)
    target[:, 8:20, 8:20] = value
    return Kept(np.full((count, 3, 32, 32), level, np.uint8), target, list(classes))


def test_slices_are_read_back(home):
    replay = Replay([kept(3), kept(2, ["other"])], [kept(1)])
    assert read_replay("sha256:ab") is None
    write_replay("sha256:ab", replay)
    again = read_replay("sha256:ab")
    assert [k.classes for k in again.train] == [NAMES, ["other"]]
    for own, expected in zip(again.train + again.val, replay.train + replay.val, strict=True):
        np.testing.assert_array_equal(own.grey, expected.grey)
        np.testing.assert_array_equal(own.target, expected.target)
    replay_file("sha256:ab").write_bytes(b"half")
    assert read_replay("sha256:ab") is None, "a damaged file is as good as none"


def test_slices_go_with_their_model(home, bundle_file):
    digest = read_card(bundle_file)["digest"]
    write_replay(digest, Replay([kept(1)], []))
    write_replay("sha256:other", Replay([kept(1)], []))
    remove_model("test")
    assert read_replay(digest) is None and read_replay("sha256:other")


def test_gathered_slices_are_the_prepared_ones():
    case = discs(count=6)
    case.foreground = [0, 2, 3, 5]
    (own,) = gather([case], NAMES, context=1, seed=0)
    assert own.grey.shape == (6, 3, 32, 32) and own.grey.dtype == np.uint8
    np.testing.assert_allclose(own.grey[2] / 255, case.grey[1:4, 0], atol=0.003)
    np.testing.assert_allclose(own.grey[0] / 255, case.grey[[0, 0, 1], 0], atol=0.003)
    np.testing.assert_array_equal(own.target, case.target)


def test_many_slices_are_thinned_evenly_and_old_ones_stay():
    large = [discs(str(n), count=150, side=8 + 12) for n in range(3)]
    new = gather(large, NAMES, context=0, seed=1)
    assert [len(k.grey) for k in new] == [MOST // 3] * 3
    old = Replay([kept(150, level=7)], [kept(90, level=7)])
    both = merged(old, Replay(new, [kept(80, level=9)]), seed=0)
    counts = {part: [k.grey.max() <= 7 for k in getattr(both, part) for _ in k.grey] for part in ("train", "val")}
    assert len(counts["train"]) == MOST and sum(counts["train"]) == MOST // 2
    assert len(counts["val"]) == 100 and sum(counts["val"]) == 50
    few = merged(old, Replay([kept(10, level=9)], []), seed=0)
    assert [len(k.grey) for k in few.train] == [150, 10]
    assert merged(None, both, 0) is both


def test_former_slices_of_other_classes():
    """Classes are matched by name; what was no class then may be one in what was background."""
    (same,) = as_cases(Replay([kept(2, value=2)], []), ["Dark", "bright"])
    assert same.former and set(np.unique(same.target)) == {0, 1}
    (added,) = as_cases(Replay([kept(2, value=2)], []), ["dark", "bright", "new"])
    assert set(np.unique(added.target)) == {1, IGNORE}
    (less,) = as_cases(Replay([kept(2, value=2)], []), ["bright"])
    assert set(np.unique(less.target)) == {0}


def test_former_slices_are_shown_as_often_as_new_ones():
    cases = [discs(count=6), *as_cases(Replay([kept(50), kept(2)], []), NAMES)]
    shown = epoch_slices(cases, 0, 1)
    assert sum(c == 0 for c, _ in shown) == sum(c > 0 for c, _ in shown) == 18
    assert len(set(shown)) == 6 + 18, "drawn without repeating one while there are enough"
    few = epoch_slices([discs(count=6), *as_cases(Replay([kept(2)], []), NAMES)], 0, 1)
    assert sum(c > 0 for c, _ in few) == 18


def test_dice_on_former_slices_is_that_of_the_prediction():
    network = tiny_network(classes=3)
    own = gather([discs()], NAMES, 1, 0)[0]
    images = torch.from_numpy(own.grey).float() / 255
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        found = network((images - mean) / deviation).argmax(dim=1).numpy()
    own.target = found.astype(np.uint8)
    present = {NAMES[v - 1] for v in np.unique(found) if v}
    assert present
    dice = former_dice(network, Replay([], [own]), NAMES, CPU)
    assert dice == pytest.approx({"mean": 1.0, **dict.fromkeys(present, 1.0)}, abs=0.02)  # in half precision
    own.target = np.where(found == 0, 1, 0).astype(np.uint8)
    assert former_dice(network, Replay([], [own]), NAMES, CPU)["bright"] < 0.02
    assert former_dice(network, Replay([], []), NAMES, CPU) is None
    assert former_dice(network, Replay([], [own]), ["something else"], CPU) is None


STRUCTURES = [describe(1, "right ventricle"), describe(2, "left ventricle")]


def write_cases(root, count: int, seed: int, levels=((1, 900), (2, 100))):
    """Volumes of a disc of each value on noise."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :40]
    for number in range(count):
        grey = generator.normal(500, 30, (6, 40, 40))
        labels = np.zeros((6, 40, 40), np.uint8)
        for value, level in levels:
            row, column = generator.integers(10, 30, 2)
            disc = (rows - row) ** 2 + (columns - column) ** 2 < 64
            grey[:, disc], labels[:, disc] = level, value
        geometry = {"origin": np.zeros(3), "spacing": np.array([1.0, 1.0, 5.0]), "direction": np.eye(3)}
        write_volume(root / "images" / f"c{number}.nrrd", Volume(grey[None].astype(np.int16), **geometry))
        write_labels(root / "labels" / f"c{number}.nrrd", Volume(labels[None], **geometry), STRUCTURES)
    return root


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A model trained on three volumes, one of them for validation, and the home folder with its slices."""
    root = tmp_path_factory.mktemp("parent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(base_module.CONFIGS, "small-test", SMALL)
        patch.setenv("SAM2ADAPT_HOME", str(root / "home"))
        patch.setattr("sam2adapt.training.samples._FEWEST", 64)
        (root / "home" / "bases").mkdir(parents=True)
        write_base(
            root / "home" / "bases" / "small-test.safetensors", "small-test", random_base("small-test", 5)[0], {}
        )
        write_cases(root / "data", 3, 0)
        yield train(request_for(root / "data", root / "model.safetensors", epochs=6, learning_rate=3e-3))


def request_for(data, output, **changes) -> TrainRequest:
    own = {"split", "init", "allow_forgetting", "groups", "resume", "preview"}
    fields = {name: changes.pop(name) for name in own & changes.keys()}
    settings = TrainSettings(**{"size": 32, "crop": 32, "seed": 2, "batch_size": 4} | changes)
    home = output.parent / "home" / "bases" / "small-test.safetensors"
    values = {"base": str(home), "method": "dual-lw", "device": "cpu"} | fields
    cases = find_cases(data / "images", data / "labels")
    return TrainRequest(cases=cases, output=output, structures=STRUCTURES, settings=settings, **values)


def continued(parent, tmp_path, data, **changes) -> TrainRequest:
    request = request_for(data, tmp_path / "next.safetensors", init=str(parent), **changes)
    request.base = str(parent.parent / "home" / "bases" / "small-test.safetensors")
    return request


def test_training_keeps_slices_outside_the_model(parent):
    card = read_card(parent)
    replay = read_replay(card["digest"])
    assert sum(len(k.grey) for k in replay.train) == 12 and sum(len(k.grey) for k in replay.val) == 6
    assert all(k.classes == ["right ventricle", "left ventricle"] for k in replay.train + replay.val)
    assert "replay" not in card["training"]
    assert not any(name.startswith("former") for name in read_bundle(parent).tensors)
    left = sorted(path.name for path in parent.with_suffix(".run").iterdir())
    assert left == ["checkpoint.pt", "log.csv", "split.json"]


def test_continuing_shows_former_slices_and_measures_them(parent, tmp_path):
    data, said = write_cases(tmp_path / "new", 2, 7), []
    request = continued(parent, tmp_path, data, epochs=1, learning_rate=0.0, base_learning_rate=0.0, quick=True)
    path = train(request, say=said.append)
    card, first = read_card(path), read_card(parent)
    replay = card["training"]["replay"]
    assert (replay["slices"], replay["validation_slices"]) == (12, 6)
    assert replay["former"]["before"] == replay["former"]["after"] > 0.2
    assert card["parent"] == first["digest"] and card["slices"] == first["slices"], "the grid is kept"
    assert any("former model's validation" in sentence for sentence in said)
    after = read_replay(card["digest"])
    assert sum(len(k.grey) for k in after.train) == 12 + 6 and sum(len(k.grey) for k in after.val) == 6 + 6


def test_a_model_that_forgets_is_not_put_in_place(parent, tmp_path, capsys):
    """Bright and dark have changed their names: with nothing of the former slices in the batches, it must forget."""
    data = write_cases(tmp_path / "new", 2, 7, levels=((2, 900), (1, 100)))
    request = continued(parent, tmp_path, data, epochs=8, learning_rate=1e-2)
    read, first = read_replay(read_card(parent)["digest"]), read_card(parent)["digest"]
    write_replay(first, Replay([], read.val))
    path = train(request)
    write_replay(first, read)
    assert path == request.folder / "next.safetensors" and not request.output.exists()
    former = read_card(path)["training"]["replay"]["former"]
    assert former["before"] - former["after"] > 0.005
    split = request.folder / "split.json"
    command = [
        "train", "--images", data / "images", "--labels", data / "labels", "--split", split, "--classes",
        "1=right ventricle,2=left ventricle", "--init", parent, "--base", request.base, "--size", 32, "--crop", 32,
        "--seed", 2, "--batch-size", 4, "--epochs", 8, "--learning-rate", 0.01, "--resume", "-o", request.output,
    ]  # fmt: skip
    assert app.main([str(part) for part in command]) == 2
    said = capsys.readouterr().err
    assert "forgets" in said and "(--resume, --allow-forgetting)" in said and str(path) in said
    assert not request.output.exists()
    assert app.main([*map(str, command), "--allow-forgetting"]) == 0
    assert request.output.is_file()


def test_init_brings_its_own_method_and_quick_adapt_fits_it(parent, tmp_path, capsys):
    data = write_cases(tmp_path / "new", 2, 9)
    output = tmp_path / "quick.safetensors"
    command = [
        "train", "--images", data / "images", "--labels", data / "labels", "--classes",
        "1=right ventricle,2=left ventricle", "--init", parent, "--quick", "--crop", 32, "--epochs", 2, "-o", output,
    ]  # fmt: skip
    assert app.main([str(part) for part in command]) == 0, capsys.readouterr().err
    card, first = read_card(output), read_card(parent)
    assert card["method"] == first["method"] and card["network"] == first["network"] and card["base"] == first["base"]
    assert card["training"]["settings"]["quick"] is True
    assert card["training"]["parameters"]["trained"] < first["training"]["parameters"]["trained"]
    own, former = read_bundle(output).tensors, read_bundle(parent).tensors
    assert own.keys() == former.keys()
    assert all(torch.equal(own[n], former[n]) for n in own if n.startswith("base.image_encoder."))
    assert not torch.equal(own["head.tokens"], former["head.tokens"])


def test_without_slices_on_this_machine_nothing_is_measured(parent, tmp_path, home):
    data, said = write_cases(tmp_path / "new", 2, 7), []
    path = train(continued(parent, tmp_path, data, epochs=1), say=said.append)
    assert "replay" not in read_card(path)["training"]
    assert any("no slices from the training" in sentence for sentence in said)


def test_another_task_only_starts_from_the_model(parent, tmp_path):
    data, said = write_cases(tmp_path / "new", 2, 7), []
    request = continued(parent, tmp_path, data, epochs=1, size=48)
    request.structures = [describe(1, "liver"), describe(2, "spleen")]
    card = read_card(train(request, say=said.append))
    assert "replay" not in card["training"] and card["slices"] != read_card(parent)["slices"]
    assert any("only a start" in sentence for sentence in said)


def test_another_modality_is_refused(parent, tmp_path):
    data = write_cases(tmp_path / "new", 2, 7)
    with pytest.raises(ModalityError, match="trained on MR, and the training images are CT"):
        train(continued(parent, tmp_path, data, epochs=1, modality="CT"))


def test_one_volume_is_validated_on_held_out_slices(parent, tmp_path):
    data = write_cases(tmp_path / "new", 1, 3)
    request = continued(parent, tmp_path, data, epochs=2, patience=1)
    request.init, request.preview = None, tmp_path / "preview.npy"
    seen = []
    card = with_names(read_card(train(request, seen.append)))
    assert card["training"]["split"] == {"train": ["c0"], "val": [], "val_slices": {"c0": [2]}}
    assert card["metrics"]["dice"]["mean"] is not None and card["metrics"]["cases"][0]["id"] == "c0"
    assert np.load(request.preview).shape == (6, 40, 40)
    validations = 1 + sum("dice mean" in row for row in rows_of(request))  # the first one before the first step
    assert [state.preview for state in seen if state.preview] == [(request.preview, "c0")] * validations
    again = request_for(data, tmp_path / "again.safetensors", epochs=2, patience=1, split=card["training"]["split"])
    again.base = request.base
    assert torch.equal(
        read_bundle(train(again)).tensors["head.tokens"], read_bundle(request.output).tensors["head.tokens"]
    )


def rows_of(request) -> list[dict]:
    from sam2adapt.training.record import load_checkpoint

    return load_checkpoint(request.folder / "checkpoint.pt")["history"]["rows"]
