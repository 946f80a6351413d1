"""A trial on three slices: a model is sure of its structures, and not of what it finds elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.requests.try_model import try_model as carry_out
from sam2adapt.segmenting.model import load_model
from sam2adapt.segmenting.trial import try_model
from sam2adapt.shared.errors import CancelledError, ModalityError
from sam2adapt.shared.model_fit import PLAUSIBLE, slices_to_send
from sam2adapt.shared.requests.server_actions import TryModel
from serve_client import described


@pytest.fixture(scope="module")
def chest() -> Volume:
    """Slicer's sample CT of a chest, coarser in plane."""
    slicerio = pytest.importorskip("slicerio")
    volume = read_volume(slicerio.get_testdata_file("CTChest4.nrrd"))
    return replace(volume, array=volume.array[:, :, ::2, ::2].copy(), spacing=volume.spacing * [2, 2, 1])


def test_lungs_are_plausible_and_noise_and_nothing_are_not(chest):
    model = load_model("torso-ct")
    trial = try_model(chest, model)
    assert trial.found == ["right lung", "left lung"] and trial.score > PLAUSIBLE
    noise = np.random.default_rng(0).normal(-300, 500, chest.array.shape).astype(np.int16)
    assert try_model(chest.with_array(noise), model).score < PLAUSIBLE
    tissue = np.full_like(chest.array, 40)
    tissue[0, :, 0, 0] = -1000
    nothing = try_model(chest.with_array(tissue), model, lambda: False)
    assert (nothing.found, nothing.score) == ([], 0.0)


def test_the_three_slices_with_their_neighbours_are_enough(chest, tmp_path):
    cut = replace(chest, array=chest.array[:, slices_to_send(chest.array.shape[1])])
    whole, part = try_model(chest, load_model("torso-ct")), try_model(cut, load_model("torso-ct"))
    assert (part.found, part.score) == (whole.found, whole.score)
    request = TryModel(model="torso-ct", input=described(cut, tmp_path))
    answer = carry_out(request)
    assert answer["found"] == whole.found and answer["score"] == pytest.approx(whole.score, abs=1e-4)


def test_it_stops_when_it_is_told_and_refuses_another_modality(chest):
    looks = iter([False, True])
    with pytest.raises(CancelledError):
        try_model(chest, load_model("torso-ct"), lambda: next(looks))
    with pytest.raises(ModalityError):
        try_model(chest.with_array(chest.array - chest.array.min()), load_model("torso-ct"))
