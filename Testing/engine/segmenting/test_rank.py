"""Ranking: the less sure the model, the higher; the same patient gives the same places however it is stored."""

import json

import numpy as np
import pytest
from conftest import blobs, stored
from sam2adapt.cli import app
from sam2adapt.imaging.volume import read_volume, write_volume
from sam2adapt.segmenting import rank
from sam2adapt.segmenting.model import load_model
from sam2adapt.segmenting.rank import rank_volume

ORDERS = [((2, 1, 0), (False, False, False)), ((1, 2, 0), (True, True, False)), ((0, 1, 2), (True, False, True))]


@pytest.fixture(scope="module")
def chest():
    """Slicer's sample CT of a chest."""
    slicerio = pytest.importorskip("slicerio")
    return read_volume(slicerio.get_testdata_file("CTChest4.nrrd"))


@pytest.fixture(scope="module")
def blurred(chest):
    """The same CT under noise as strong as the contrast of lung and tissue, from a third of its slices on."""
    noise = np.random.default_rng(0).normal(0, 500, chest.array.shape)
    noise[:, :12] = 0
    return chest.with_array((chest.array + noise).clip(-1024, 3000).astype(np.int16))


def test_noise_makes_the_bundled_model_less_sure(chest, blurred):
    model = load_model("torso-ct")
    clear, noisy = rank_volume(chest, model), rank_volume(blurred, model)
    assert noisy.score > 1.5 * clear.score
    assert clear.found
    assert {one.axis for one in noisy.slices} == {2}
    assert np.mean([one.index >= 12 for one in noisy.slices]) > 0.5


@pytest.mark.parametrize(("order", "flips"), ORDERS)
def test_same_patient_same_places(make_model, order, flips):
    model = make_model()
    volume = blobs((20, 18, 9))
    one, other = rank_volume(volume, model), rank_volume(stored(volume, order, flips), model)
    assert other.score == pytest.approx(one.score, abs=1e-4)
    assert [s.position for s in other.slices] == [pytest.approx(s.position, abs=0.05) for s in one.slices]
    assert {s.axis for s in other.slices} == {order.index(2)}


def test_places_lie_in_their_slices_and_apart(make_model):
    volume = blobs((20, 18, 12))
    slices = rank_volume(volume, make_model(), slices=3).slices
    indices = sorted(one.index for one in slices)
    assert len(indices) == 3 and min(np.diff(indices)) >= 3
    assert [one.uncertainty for one in slices] == sorted((one.uncertainty for one in slices), reverse=True)
    for one in slices:
        voxel = np.linalg.solve(volume.affine, [*one.position, 1])[:3]
        assert voxel[one.axis] == pytest.approx(one.index)
        assert all(0 <= v <= n - 1 for v, n in zip(voxel, volume.size, strict=True))


def test_disagreement_is_one_minus_mean_dice():
    one = np.array([0, 1, 1, 2, 2, 2])
    other = np.array([0, 1, 0, 2, 2, 3])
    assert rank.disagreement(one, other) == pytest.approx(1 - np.mean([2 / 3, 4 / 5, 0]))
    assert rank.disagreement(np.zeros(4), np.zeros(4)) == 0


@pytest.mark.parametrize("most", [(1, 1), (5, 3), (3, 5), (255, 200)])
def test_disagreement_is_that_of_counts_label_by_label(most):
    generator = np.random.default_rng(sum(most))
    one, other = (generator.integers(0, last + 1, (4, 12, 15)).astype(np.uint8) for last in most)
    one[1:] = other[1:]
    values = np.union1d(one, other)[1:]
    dice = [2 * np.sum((one == v) & (other == v)) / (np.sum(one == v) + np.sum(other == v)) for v in values]
    assert rank.disagreement(one, other) == pytest.approx(1 - np.mean(dice), abs=1e-12)
    assert rank.disagreement(one, np.zeros_like(other)) == 1


def test_place_is_the_mean_of_the_doubt():
    plane = np.random.default_rng(0).random((300, 40)).astype(np.float32) ** 4
    volume = blobs((40, 300, 9))
    rows, columns = np.mgrid[:300, :40]
    voxel = [np.average(columns, weights=plane), np.average(rows, weights=plane), 4, 1]
    assert rank._position(plane, volume, 2, 4) == pytest.approx((volume.affine @ voxel)[:3], abs=1e-9)


def test_progress_reaches_the_end_and_never_goes_back(make_model):
    told = []
    rank_volume(blobs((20, 18, 9)), make_model(), progress=lambda done, total: told.append(done / total))
    assert told == sorted(told) and told[-1] == 1


def test_command_orders_files_and_goes_on_after_a_broken_one(bundle_file, small_base, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        volume = blobs((20, 18, 9))
        noise = np.random.default_rng(seed).normal(0, 100 * seed, volume.array.shape)
        write_volume(folder / f"{seed}.nii.gz", volume.with_array((volume.array + noise).astype(np.int16)))
    (folder / "broken.nii.gz").write_bytes(b"not an image")
    report = tmp_path / "rank.json"
    options = ["--any-modality", "--top", "2", "--json", str(report)]
    assert app.main(["rank", str(folder), "--model", str(bundle_file), *options]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert "broken.nii.gz" in printed.err
    content = json.loads(report.read_text("utf-8"))
    scores = [entry["score"] for entry in content["ranked"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    assert len(content["failed"]) == 1


def test_command_without_any_usable_volume_says_so(bundle_file, small_base, tmp_path, capsys):
    assert app.main(["rank", str(tmp_path / "nowhere"), "--model", str(bundle_file)]) == 2
    assert "None of the volumes could be ranked." in capsys.readouterr().err
