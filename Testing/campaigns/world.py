"""The small world of a campaign: a stand-in network, models, images and labels, and the engine's command line in it."""

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from sam2adapt import adapters
from sam2adapt.cli.app import main
from sam2adapt.imaging.terminology import describe
from sam2adapt.modelfiles.bases import file_sha256
from sam2adapt.modelfiles.bundle import write_bundle
from sam2adapt.network import base as bases
from sam2adapt.network.weights import random_base, write_base
from sam2adapt.segmenting.model import build_network
from sam2adapt.shared import files
from sam2adapt.training import samples

STAND_IN = "stand-in"
#: Of the official form, and so small that a slice takes milliseconds.
CONFIG = bases.BaseConfig(
    16, 1, (1, 1, 2, 1), (3,), window_spec=(8, 4, 8, 8), decoder_dim=32, decoder_mlp_dim=64, window_multiple=32
)
GRID = {"origin": [0.0] * 3, "spacing": [1.0] * 3, "direction": np.eye(3).ravel().tolist()}


@dataclass
class World:
    """Where a try takes place; ``folder`` is its own.

    :ivar home: models and base weights; ``model``: a model file in it.
    :ivar images: folder with two images, ``labels`` with theirs; ``drawn``: labels of some slices of the first;
        ``tiny``: an image of two slices.
    """

    folder: Path
    home: Path
    model: Path
    images: Path
    labels: Path
    drawn: Path
    tiny: Path

    @classmethod
    def make(cls, folder: Path) -> "World":
        """Make a world; in this process and its children, the stand-in network is known and no model is bundled."""
        files.bundled_folder = lambda: folder / "bundled"  # five cards that would be read at every look-up of a name
        bases.CONFIGS[STAND_IN] = CONFIG
        samples._FEWEST = 8  # of an epoch: training is tried for its files, not for what it learns
        world = cls(*(folder / part for part in (".", "home", "home/models/keeper.safetensors", "images", "labels")),
                    folder / "drawn.nrrd", folder / "tiny.nrrd")  # fmt: skip
        for place in (world.model.parent, world.home / "bases", world.images, world.labels):
            place.mkdir(parents=True)
        base, _ = random_base(STAND_IN, seed=5)
        path = world.home / "bases" / f"{STAND_IN}.safetensors"
        write_base(path, STAND_IN, base, {})
        world._write_model(base, file_sha256(path))
        for number in range(2):
            world._write_case(number)
        tiny = np.random.default_rng(2).integers(0, 900, (2, 12, 12), np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(tiny), str(world.tiny))
        return world

    def _write_model(self, base: bases.ImagePath, sha256: str) -> None:
        card = {
            "format": "sam2adapt-bundle", "schema_version": 1, "name": "keeper", "version": "1.0", "description": "",
            "license": "CC0-1.0", "created": "2026-01-01T00:00:00+00:00", "parent": None,
            "method": {"name": "lora", "settings": adapters.create("lora", {"rank": 2}).settings()},
            "base": {"id": STAND_IN, "sha256": sha256},
            "classes": [describe(1, "ball").to_json(), describe(2, "shell").to_json()], "modality": "MR",
            "slices": {"orientation": "LPS", "axis": "axial", "spacing": None, "size": 32, "context": 1,
                       "normalization": {"kind": "percentile", "low": 0.5, "high": 99.5}},
            "network": {"peg": "add", "train_upscaling": False},
            "postprocessing": {"largest_component": [1], "fill_holes": [], "minimum_ml": 0.0},
            "training": {"data": {"summary": "noise"}, "split": {"train": ["case 1"], "val": ["case 2"]}, "seed": 0,
                         "settings": {}, "software": {}, "minutes": 1.5},
            "metrics": {"subset": "val", "dice": {"mean": 0.5}, "cases": [{"id": "case 2"}]},
        }  # fmt: skip
        torch.manual_seed(1)
        network, _ = build_network(card, base)
        for name, parameter in network.named_parameters():
            if name not in network.base_names:  # so that the classes differ, and labels are not all background
                parameter.data += 0.3 * torch.randn(parameter.shape)
        write_bundle(self.model, card, network.trained_state())

    def _write_case(self, number: int) -> None:
        generator = np.random.default_rng(number)
        rows = np.indices((6, 24, 24)) - np.array([3, 12, 10 + 3 * number])[:, None, None, None]
        distance = np.sqrt(np.square(rows).sum(0))
        labels = ((distance < 7).astype(np.uint8) + (distance < 4)).astype(np.uint8)
        grey = (300.0 * labels + generator.normal(100, 20, labels.shape)).astype(np.int16)
        drawn = np.full_like(labels, 255)
        drawn[::2] = labels[::2]
        spacing = (1.0, 1.0, 3.0)
        for array, path in ((grey, self.images / f"{number}.nrrd"), (labels, self.labels / f"{number}.nrrd"),
                            (drawn, self.drawn)):  # fmt: skip
            image = sitk.GetImageFromArray(array)
            image.SetSpacing(spacing)
            sitk.WriteImage(image, str(path))

    def copy(self, folder: Path) -> "World":
        """The same world in another folder, for a try that changes it."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        parts = (getattr(self, part).relative_to(self.folder) for part in World.__dataclass_fields__)
        return World(*(folder / part for part in parts))

    def command(self, *arguments: object, before: Callable[[], None] | None = None) -> Callable[[], int]:
        """The command line in this world, to be called in a child.

        :param before: called first, to take rights away for instance.
        """

        def run() -> int:
            os.environ["SAM2ADAPT_HOME"] = str(self.home)
            torch.set_num_threads(1)
            if before:
                before()
            return main([str(argument) for argument in arguments])

        return run

    def actions(self, rng: random.Random, output: Path) -> dict[str, tuple[tuple, Path]]:
        """Commands that write, each with its output."""
        seed = rng.randrange(100)
        return {
            "segment": (("segment", self.images / "0.nrrd", "--model", "keeper", "-o", output / "labels.nrrd",
                         "--device", "cpu"), output / "labels.nrrd"),
            "batch": (("segment", self.images, "--model", "keeper", "-o", output / "batch", "--device", "cpu"),
                      output / "batch"),
            "fill": (("fill", self.images / "1.nrrd", "--labels", self.drawn, "-o", output / "filled.nrrd"),
                     output / "filled.nrrd"),
            "train": (("train", "--images", self.images, "--labels", self.labels, "--classes", "1=ball,2=shell",
                       "--base", STAND_IN, "--method", "head", "--size", 32, "--crop", 32, "--batch-size", 4,
                       "--epochs", 3, "--seed", seed, "--modality", "MR", "--device", "cpu",
                       "-o", output / "new.safetensors"), output / "new.safetensors"),
        }  # fmt: skip
