"""What several test files start from: a small network, base files, models and volumes whose every voxel is known."""

import os
from contextlib import nullcontext
from pathlib import Path

import example_models
import numpy as np
import pytest
import torch
from cards import model_card
from sam2adapt.imaging.volume import Volume
from sam2adapt.modelfiles.bundle import write_bundle
from sam2adapt.network import base as base_module
from sam2adapt.network.base import BaseConfig, ImagePath
from sam2adapt.network.weights import random_base, write_base
from sam2adapt.segmenting import predict
from sam2adapt.segmenting.model import Model, build_network
from sam2adapt.shared import files

# Tests that start the command line in a process of its own need the engine there too.
SOURCES = str(Path(__file__).resolve().parents[2] / "SAM2Adapt")
os.environ["PYTHONPATH"] = os.pathsep.join([SOURCES, *filter(None, [os.environ.get("PYTHONPATH")])])

SMALL = BaseConfig(
    16, 1, (1, 1, 2, 1), (3,), window_spec=(8, 4, 8, 8), decoder_dim=32, decoder_mlp_dim=64, window_multiple=32
)


@pytest.fixture(scope="session")
def small_config() -> BaseConfig:
    """A network of the official form, small enough for a slice in a few milliseconds."""
    return SMALL


@pytest.fixture
def small_base(monkeypatch, small_config) -> ImagePath:
    """An untrained image path of the small configuration, known under the id ``small-test``."""
    monkeypatch.setitem(base_module.CONFIGS, "small-test", small_config)
    return random_base("small-test", seed=5)[0]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home folder of the user, in the place of the real one."""
    folder = tmp_path / "home"
    (folder / "bases").mkdir(parents=True)
    monkeypatch.setenv("SAM2ADAPT_HOME", str(folder))
    return folder


@pytest.fixture
def empty_home(tmp_path, monkeypatch) -> Path:
    """The user's home folder, which does not exist yet; ``bundled`` beside it stands for the bundled folder."""
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(files, "bundled_folder", lambda: tmp_path / "bundled")
    return tmp_path / "home"


@pytest.fixture
def bundled(empty_home, tmp_path) -> Path:
    """A bundled folder with the nano base and a model."""
    example_models.write_base(tmp_path / "bundled" / "nano.safetensors")
    example_models.write_model(tmp_path / "bundled" / "torso_ct.safetensors")
    return tmp_path / "bundled"


@pytest.fixture
def nano_base(home) -> Path:
    """A base file of the nano configuration with random weights, in the user's folder of bases."""
    path = home / "bases" / "nano.safetensors"
    write_base(path, "nano", random_base("nano", seed=11)[0], {"data": "none, random numbers"})
    return path


@pytest.fixture
def float32(monkeypatch) -> None:
    """Predict without half precision, whose rounding depends on the number of slices in a batch."""
    monkeypatch.setattr(predict, "autocast", lambda device: nullcontext())


@pytest.fixture(scope="session")
def data_path() -> Path:
    """The folder of real images; tests that need it are skipped without it."""
    folder = os.environ.get("SAM2ADAPT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SAM2ADAPT_DATA does not name a folder")
    return Path(folder)


def untrained(card: dict):
    """Build the training form of a card's network on the small base, always with the same random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build_network(card, random_base("small-test", seed=5)[0])


def shake(network: torch.nn.Module, seed: int = 0, amount: float = 0.3) -> None:
    """Move what a network has beyond its base away from its initial state, so that its classes differ."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name not in network.base_names:
            parameter.data += amount * torch.randn(parameter.shape, generator=generator)


@pytest.fixture
def make_model(small_base):
    """Give a function that makes a small model with random weights in its exported form; arguments change its card."""

    def make(**changes) -> Model:
        card = model_card(**changes)
        network, method = untrained(card)
        shake(network)
        network.eval()
        method.export(network)
        return Model(card, network.requires_grad_(False), torch.device("cpu"))

    return make


@pytest.fixture
def bundle_file(small_base, home) -> Path:
    """A whole model file, as training writes it, with its base beside it in the user's folders."""
    from sam2adapt.modelfiles.catalog import file_sha256

    base = home / "bases" / "small-test.safetensors"
    write_base(base, "small-test", small_base, {})
    card = model_card(base={"id": "small-test", "sha256": file_sha256(base)})
    network, _ = untrained(card)
    shake(network)
    (home / "models").mkdir()
    path = home / "models" / "test.safetensors"
    write_bundle(path, card, network.trained_state())
    return path


def rotation(axis, angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) about an axis, by an angle in radians (Rodrigues)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def blobs(size=(20, 18, 7), spacing=(1.0, 1.5, 4.0), direction=None, seed=0, channels=1, kind=np.int16) -> Volume:
    """A volume of (I, J, K) voxels with smooth bright blobs on noise, not symmetrical in any axis."""
    generator = np.random.default_rng(seed)
    grids = np.meshgrid(*(np.arange(n) for n in size[::-1]), indexing="ij")
    array = generator.normal(0, 20, (channels, *size[::-1]))
    for level in (400, 700, 1000):
        centre = [generator.uniform(0.1, 0.8) * n for n in size[::-1]]
        width = [max(1.0, n / 5) for n in size[::-1]]
        distance = sum(((g - c) / w) ** 2 for g, c, w in zip(grids, centre, width, strict=True))
        array += level * np.exp(-distance)
    if channels == 3:
        array = np.clip(array / 4, 0, 255)
    direction = np.eye(3) if direction is None else direction
    return Volume(array.astype(kind), np.array([3.0, -7.0, 11.0]), np.array(spacing), direction, name="blobs")


def noise(*shape: int) -> np.ndarray:
    """Random whole numbers from -1000 to 399, always the same."""
    return np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16)


def stored(volume: Volume, order=(0, 1, 2), flips=(False, False, False)) -> Volume:
    """The same voxels at the same places, stored in another way: new axis n is old axis order[n], some are reversed."""
    array = volume.array.transpose(0, *(3 - order[2 - n] for n in range(3)))
    spacing, direction = volume.spacing[list(order)], volume.direction[:, list(order)].copy()
    size = [volume.size[axis] for axis in order]
    origin = volume.origin.copy()
    for axis in range(3):
        if flips[axis]:
            origin = origin + direction[:, axis] * spacing[axis] * (size[axis] - 1)
            direction[:, axis] *= -1
            array = np.flip(array, 3 - axis)
    array = array.copy()  # in memory as a file's reader leaves it
    return Volume(array, origin, spacing, direction, volume.name, volume.modality, volume.physical)


def unstored(array: np.ndarray, order, flips) -> np.ndarray:
    """Bring an array (K, J, I) of ``stored(volume, order, flips)`` back to the order of ``volume``."""
    for axis in range(3):
        if flips[axis]:
            array = np.flip(array, 2 - axis)
    return array.transpose(np.argsort([2 - order[2 - n] for n in range(3)]))
