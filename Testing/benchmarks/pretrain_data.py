"""What the base network is pretrained on: the training parts of the packs, and batches of each by turns."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torso_ct
from benchmark_sets import PERMISSIVE, SETS
from made_up import KINDS, made_up_slice, random_contrast
from monai.transforms import Compose
from relabel import SPINE, remap
from sam2adapt.evaluation.cases import Case, find_cases, read_split, select
from sam2adapt.imaging.terminology import describe
from sam2adapt.training.prepare import PreparedCase, fingerprint, prepare
from sam2adapt.training.samples import EpochSamples, augmentation
from sam2adapt.training.settings import TrainSettings
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

LARGEST_CROP = 192
GROUPS = {
    "spleen": ["spleen"], "right kidney": ["kidney_right"], "left kidney": ["kidney_left"], "liver": ["liver"],
    "stomach": ["stomach"], "pancreas": ["pancreas"], "bowel": ["small_bowel", "duodenum", "colon"], "aorta": ["aorta"],
    "inferior vena cava": ["inferior_vena_cava"], "spinal cord": ["spinal_cord"],
    "vertebra": ["vertebrae"], "rib": ["rib_", "costal"], "lung": ["lung"],
    "muscle": ["autochthon", "iliopsoas"],
}  # fmt: skip


@dataclass(frozen=True)
class Pack:
    """Cases of one data set with the names of their label values 1, 2, …, and the share of batches it gets."""

    name: str
    cases: list[Case]
    classes: list[str]
    share: float
    settings: TrainSettings


@dataclass
class Source:
    """One data set prepared, its classes' places in the common head, and the share of slices with random contrast."""

    name: str
    cases: list[PreparedCase]
    channels: list[int]
    share: float
    transform: Compose
    context: int
    contrast: float

    def pairs(self, seed: int, step: int, count: int) -> list[tuple[Tensor, Tensor]]:
        """Images (3, H, W) in 0..1 and targets (H, W) of a step; all follows from seed and step."""
        samples = EpochSamples(self.cases, self.transform, self.context, seed, step)
        pairs = []
        for place in range(count):
            image, target = samples[place % len(samples)]
            random = np.random.default_rng([seed, step, place])
            pairs.append((random_contrast(image, random) if random.random() < self.contrast else image, target))
        return pairs


@dataclass
class MadeUp:
    """Made-up slices in the place of a data set."""

    channels: list[int]
    share: float
    name: str = "made-up"

    def pairs(self, seed: int, step: int, count: int) -> list[tuple[Tensor, Tensor]]:
        """Images (3, H, W) in 0..1 and targets (H, W) of a step; all follows from seed and step."""
        return [made_up_slice(np.random.default_rng([seed, step, place])) for place in range(count)]


def grouped(folder: Path, work: Path) -> tuple[list[Case], list[str]]:
    """A TotalSegmentator test case with its structures merged into the groups above, and the groups it has."""
    names = {int(k): v for k, v in json.loads((folder / "labels.json").read_text("utf-8")).items() if k != "0"}
    found = {g: [v for v, n in names.items() if any(n.startswith(p) for p in parts)] for g, parts in GROUPS.items()}
    found = {group: values for group, values in found.items() if values}
    table = {value: i for i, values in enumerate(found.values(), start=1) for value in values}
    return remap([Case(folder.name, folder / "image.nii.gz", folder / "label.nii.gz")], table, work), list(found)


def permissive(data: Path, work: Path) -> list[Pack]:
    """The packs whose licences let the weights be passed on: what the shipped base is made of."""
    packs = []
    for name, classes, table, share, settings in (
        ("hippocampus", ["anterior hippocampus", "posterior hippocampus"], None, 0.25, TrainSettings(axis="axial")),
        ("spider2d", ["vertebra", "spinal canal", "intervertebral disc"], SPINE, 0.15, TrainSettings(size=288)),
        ("chasedb1", ["retinal vessel"], None, 0.15, TrainSettings(size=512, rotation=90)),
    ):
        cases = training_part(data / name)
        packs.append(Pack(name, remap(cases, table, work / name) if table else cases, classes, share, settings))
    torso_ct.write(torso_ct.labelled(data / "ct_sample"), work / "torso")
    torso = find_cases(work / "torso" / "images", work / "torso" / "labels")
    axial = TrainSettings(axis="axial", modality="CT")
    packs.append(Pack("torso", torso, ["right lung", "left lung"], 0.2, axial))
    ct, groups = grouped(data / "ct_sample" / "ts_ct_3mm", work / "ts_ct")
    packs.append(Pack("ts_ct", ct, groups, 0.15, axial))
    mr, groups = grouped(data / "ct_sample" / "ts_mr_3mm", work / "ts_mr")
    packs.append(Pack("ts_mr", mr, groups, 0.1, TrainSettings(axis="axial", modality="MR")))
    return packs


def research(data: Path) -> list[Pack]:
    """The other packs of the accuracy benchmark, for bases that are only measured and never passed on."""
    names = [name for name, known in SETS.items() if name not in PERMISSIVE and not known.packs]
    return [
        Pack(name, training_part(data / name), list(SETS[name].classes.values()), 0.15,
             TrainSettings(**SETS[name].settings))
        for name in names
    ]  # fmt: skip


def training_part(folder: Path) -> list[Case]:
    """Cases of a pack's ``train`` part."""
    return select(find_cases(folder / "images", folder / "labels"), read_split(folder / "split.json"), "train")


def sources(
    packs: list[Pack], work: Path, contrast: float = 0.0, made_up: float = 0.0
) -> tuple[list[Source | MadeUp], int]:
    """Prepare every pack; also the number of classes of the common head, background included.

    :param contrast: share of real slices that get a random contrast; ``made_up``: share of made-up batches.
    """
    result, used = [], 1
    for pack in packs:
        structures = [describe(i, label) for i, label in enumerate(pack.classes, start=1)]
        own, found = pack.settings, fingerprint(pack.cases, structures, pack.settings)
        prepared = prepare(pack.cases, structures, found.slices, work / "prepared" / pack.name)
        crop = tuple(min(LARGEST_CROP, -(-n // 32) * 32) for n in found.median_size)
        channels = [0, *range(used, used + len(pack.classes))]
        used += len(pack.classes)
        transform = augmentation(crop, own.rotation, 0.25, own.flips, prepared[0].grey.shape[1] == 3)
        result.append(Source(pack.name, prepared, channels, pack.share, transform, found.slices.context, contrast))
        count = sum(len(case.foreground) for case in prepared)
        print(f"{pack.name}: {len(prepared)} cases, {count} slices, crop {crop}", flush=True)
    if made_up:
        share = sum(part.share for part in result) * made_up / (1 - made_up)
        result.append(MadeUp([0, *range(used, used + len(KINDS))], share))
        used += len(KINDS)
    return result, used


class Steps(Dataset):
    """Batches by the number of their step: (source's number, images, targets); all follows from seed and number."""

    def __init__(self, parts: list[Source | MadeUp], batch: int, seed: int):
        self.parts, self.batch, self.seed = parts, batch, seed
        shares = np.array([part.share for part in parts])
        self.shares = shares / shares.sum()

    def __getitem__(self, step: int) -> tuple[int, Tensor, Tensor]:
        draw = np.random.default_rng([self.seed, step])
        number = int(draw.choice(len(self.parts), p=self.shares))
        pairs = self.parts[number].pairs(self.seed, step, self.batch)
        return number, torch.stack([image for image, _ in pairs]), torch.stack([target for _, target in pairs])

    def batches(self, first: int, workers: int) -> DataLoader:
        """Endless batches from a step on, made by so many processes beside this one; with 0 by this one."""
        return DataLoader(self, batch_size=None, sampler=_From(first), num_workers=workers)


class _From:
    """Numbers from a first one on."""

    def __init__(self, first: int):
        self.first = first

    def __iter__(self):
        step = self.first
        while True:
            yield step
            step += 1
