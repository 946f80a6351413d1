r"""Pretrain the base network ``nano`` on the permissive packs, and write it as the base file that ships.

    python Testing/benchmarks/pretrain.py --data DATA --work WORK --minutes 23 \
        -o SAM2Adapt/Resources/Models/nano.safetensors

Supervised training of the whole network on several data sets at once: each batch comes from one data set, one class
head holds the classes of all, and the loss sees only those of the batch's data set. Data: hippocampus (CC BY-SA 4.0),
spider2d (CC BY 4.0), chasedb1 (CC BY 4.0), ct_sample (CC BY-SA 4.0, Apache-2.0); training parts only. It resumes.
"""

import argparse
import json
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torso_ct
from sam2adapt.device import autocast
from sam2adapt.network.base import ImagePath
from sam2adapt.network.network import SegmentationNetwork
from sam2adapt.network.weights import random_base, write_base
from sam2adapt.slices import normalise
from sam2adapt.terminology import describe
from sam2adapt.training.cases import Case, find_cases, read_split, select
from sam2adapt.training.checkpoint import load_checkpoint, save_checkpoint
from sam2adapt.training.loop import schedule
from sam2adapt.training.losses import SegmentationLoss
from sam2adapt.training.prepare import PreparedCase, fingerprint, prepare
from sam2adapt.training.samples import EpochSamples
from sam2adapt.training.settings import TrainSettings
from sam2adapt.training.transforms import augmentation

BATCH = 8
SPINE = {**dict.fromkeys(range(1, 8), 1), 8: 2, **dict.fromkeys(range(10, 17), 3)}
GROUPS = {
    "spleen": ["spleen"], "right kidney": ["kidney_right"], "left kidney": ["kidney_left"], "liver": ["liver"],
    "stomach": ["stomach"], "pancreas": ["pancreas"], "bowel": ["small_bowel", "duodenum", "colon"], "aorta": ["aorta"],
    "inferior vena cava": ["inferior_vena_cava"], "spinal cord": ["spinal_cord"],
    "vertebra": ["vertebrae"], "rib": ["rib_", "costal"], "lung": ["lung"],
    "muscle": ["autochthon", "iliopsoas"],
}  # fmt: skip


@dataclass
class Source:
    """One data set: prepared slices, its classes' places in the common head, and the share of batches it gets."""

    name: str
    cases: list[PreparedCase]
    channels: list[int]
    share: float
    crop: tuple[int, int]
    context: int


def remap(cases: list[Case], table: dict[int, int], folder: Path) -> list[Case]:
    """Copy label files with other values; values that the table lacks become background."""
    folder.mkdir(parents=True, exist_ok=True)
    lookup = np.zeros(256, np.uint8)
    for old, new in table.items():
        lookup[old] = new
    out = []
    for case in cases:
        label = sitk.ReadImage(str(case.label))
        mapped = sitk.GetImageFromArray(lookup[sitk.GetArrayFromImage(label)])
        mapped.CopyInformation(label)
        path = folder / f"{case.id}.{'png' if case.label.suffix == '.png' else 'nii.gz'}"
        sitk.WriteImage(mapped, str(path))
        out.append(Case(case.id, case.image, path))
    return out


def grouped(folder: Path, work: Path) -> tuple[list[Case], list[str]]:
    """A TotalSegmentator test case with its structures merged into the groups above, and the groups it has."""
    names = {int(k): v for k, v in json.loads((folder / "labels.json").read_text()).items() if k != "0"}
    found = {g: [v for v, n in names.items() if any(n.startswith(p) for p in parts)] for g, parts in GROUPS.items()}
    found = {group: values for group, values in found.items() if values}
    table = {value: i for i, values in enumerate(found.values(), start=1) for value in values}
    return remap([Case(folder.name, folder / "image.nii.gz", folder / "label.nii.gz")], table, work), list(found)


def collect(data: Path, work: Path) -> list[tuple[str, list[Case], list[str], float, TrainSettings]]:
    """Name, cases, classes, share of batches and settings of each data set."""
    sets = []
    for name, classes, table, share, settings in (
        ("hippocampus", ["anterior hippocampus", "posterior hippocampus"], None, 0.25, TrainSettings(axis="axial")),
        ("spider2d", ["vertebra", "spinal canal", "intervertebral disc"], SPINE, 0.15, TrainSettings(size=288)),
        ("chasedb1", ["retinal vessel"], None, 0.15, TrainSettings(size=512, rotation=90)),
    ):
        folder = data / name
        cases = select(find_cases(folder / "images", folder / "labels"), read_split(folder / "split.json"), "train")
        sets.append((name, remap(cases, table, work / name) if table else cases, classes, share, settings))
    torso_ct.write(torso_ct.labelled(data / "ct_sample"), work / "torso")
    torso = find_cases(work / "torso" / "images", work / "torso" / "labels")
    axial = TrainSettings(axis="axial", modality="CT")
    sets.append(("torso", torso, ["right lung", "left lung", "liver"], 0.2, axial))
    ct, groups = grouped(data / "ct_sample" / "ts_ct_3mm", work / "ts_ct")
    sets.append(("ts_ct", ct, groups, 0.15, axial))
    mr, groups = grouped(data / "ct_sample" / "ts_mr_3mm", work / "ts_mr")
    sets.append(("ts_mr", mr, groups, 0.1, TrainSettings(axis="axial", modality="MR")))
    return sets


def sources(data: Path, work: Path) -> tuple[list[Source], int]:
    """Prepare every data set; also the number of classes of the common head, background included."""
    result, used = [], 1
    for name, cases, classes, share, settings in collect(data, work):
        structures = [describe(i, label) for i, label in enumerate(classes, start=1)]
        found = fingerprint(cases, structures, settings)
        prepared = prepare(cases, structures, found.slices, work / "prepared" / name)
        crop = tuple(min(192, -(-n // 32) * 32) for n in found.median_size)
        channels = [0, *range(used, used + len(classes))]
        used += len(classes)
        result.append(Source(name, prepared, channels, share, crop, found.slices.context))
        print(
            f"{name}: {len(prepared)} cases, {sum(len(c.foreground) for c in prepared)} slices, crop {crop}", flush=True
        )
    return result, used


def batches(parts: list[Source], settings: TrainSettings, step: int):
    """Endless (source, images, targets), going on from a step."""
    shares = np.array([part.share for part in parts])
    transforms = [augmentation(part.crop, 20 if part.name != "chasedb1" else 90, 0.25, []) for part in parts]
    while True:
        draw = np.random.default_rng([settings.seed, step])
        number = int(draw.choice(len(parts), p=shares / shares.sum()))
        part = parts[number]
        samples = EpochSamples(part.cases, transforms[number], part.context, settings.seed, step)
        pairs = [samples[i] for i in range(BATCH)]
        yield part, torch.stack([image for image, _ in pairs]), torch.stack([target for _, target in pairs])
        step += 1


class Pretraining:
    """The whole network, its averaged weights, and how far it is."""

    def __init__(self, classes: int, args: argparse.Namespace):
        self.args = args
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        base, _ = random_base("nano", args.seed)
        network = SegmentationNetwork(base, classes, peg="none").requires_grad_(True).train()
        self.network = network.to(self.device)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=0.05)
        self.average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        self.loss = SegmentationLoss({"ce": 1, "dice": 1})
        self.state = {"step": 0, "seconds": 0.0, "losses": []}
        self.checkpoint = args.work / "pretrain.pt"
        if self.checkpoint.exists():
            saved = load_checkpoint(self.checkpoint)
            self.network.load_state_dict(saved["network"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.average, self.state = saved["average"], saved["state"]

    @property
    def fraction(self) -> float:
        """Share of the time that is spent."""
        return min(1.0, self.state["seconds"] / (self.args.minutes * 60))

    def step(self, part: Source, images: torch.Tensor, targets: torch.Tensor) -> None:
        """One step on a batch of one data set."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.args.rate * schedule(self.fraction, 0.05)
        with autocast(self.device):
            logits = self.network(normalise(images.to(self.device)))
        loss = self.loss(logits[:, part.channels], targets.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        decay = min(0.998, (1 + self.state["step"]) / (10 + self.state["step"]))
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                self.average[name].lerp_(tensor, 1 - decay)
        self.state["step"] += 1
        self.state["losses"].append([part.name, round(loss.item(), 4)])

    def save(self) -> None:
        """Write the checkpoint from which an interrupted run goes on."""
        parts = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_checkpoint(self.checkpoint, parts | {"average": self.average, "state": self.state})

    def base(self) -> ImagePath:
        """The averaged base; its mask token and that token's last layer become the mean of the classes' own."""
        self.network.load_state_dict(self.average)
        decoder, head = self.network.base.sam_mask_decoder, self.network.head
        last = decoder.output_hypernetworks_mlps[0].layers[2]
        with torch.no_grad():
            decoder.mask_tokens.weight[0] = head.tokens.mean(dim=0)
            last.weight.copy_(head.weight.mean(dim=0))
            last.bias.copy_(head.bias.mean(dim=0))
        return self.network.base.cpu()


def run(args: argparse.Namespace) -> Pretraining:
    """Train for the given minutes, saving every two."""
    parts, classes = sources(args.data, args.work)
    run = Pretraining(classes, args)
    stream = batches(parts, TrainSettings(seed=args.seed), run.state["step"])
    last, saved_at = time.perf_counter(), run.state["seconds"]
    while run.fraction < 1:
        run.step(*next(stream))
        now = time.perf_counter()
        run.state["seconds"], last = run.state["seconds"] + now - last, now
        if run.state["step"] % 100 == 0:
            recent = [
                f"{part.name} {np.mean([v for n, v in run.state['losses'][-300:] if n == part.name] or [np.nan]):.3f}"
                for part in parts
            ]
            print(f"{run.state['seconds']:.0f} s, step {run.state['step']}: {', '.join(recent)}", flush=True)
        if run.state["seconds"] - saved_at > 120:
            saved_at = run.state["seconds"]
            run.save()
    run.save()
    return run


def main() -> None:
    """Pretrain and write the base file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with hippocampus, spider2d, chasedb1, ct_sample"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for prepared slices and checkpoint")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    done = run(args)
    card = {
        "license": "CC-BY-SA-4.0",
        "description": "Small Hiera of SAM2's classes, pretrained by Testing/benchmarks/pretrain.py.",
        "training": {
            "data": "training parts of hippocampus, spider2d, chasedb1; ct_sample",
            "steps": done.state["step"], "batch": BATCH, "minutes": args.minutes, "seed": args.seed,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        },
    }  # fmt: skip
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_base(args.output, "nano", done.base(), card)
    shutil.rmtree(args.work / "prepared", ignore_errors=True)
    print(f"Wrote {args.output}, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
