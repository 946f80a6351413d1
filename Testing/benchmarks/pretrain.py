r"""Pretrain the base network ``nano`` and write it as a base file.

    python Testing/benchmarks/pretrain.py --data DATA --work WORK --minutes 29 \
        -o SAM2Adapt/Resources/Models/nano.safetensors [--recipe mae+supervised] [--batch 64 --workers 14]

Recipes: ``supervised``, the whole network on several data sets at once: each batch comes from one data set, one class
head holds the classes of all, and the loss sees only those of the batch's data set. ``contrast``: the same, with random
contrast in half of the slices (``made_up.py``); ``made-up``: that, and three of ten batches of made-up slices.
``mae``: the trunk alone, without labels (``masked_autoencoder.py``). ``mae+supervised``: half of the budget each.
``none``: nothing, to compare. All begin with random numbers, or go on from a base (``--start nano``).
Data: training parts of hippocampus (CC BY-SA 4.0), spider2d, chasedb1 (CC BY 4.0) and ct_sample (CC BY-SA 4.0,
Apache-2.0); with ``--research`` those of the other packs too, for bases that are measured and never passed on.
The budget is minutes, or ``--steps``, which can be repeated bit by bit on one machine. A broken run goes on.
"""

import argparse
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from masked_autoencoder import MaskedAutoencoder
from pretrain_data import MadeUp, Source, Steps, permissive, research, sources
from sam2adapt.machine.device import autocast
from sam2adapt.network.base import ImagePath
from sam2adapt.network.network import SegmentationNetwork
from sam2adapt.network.weights import load_base, random_base, write_base
from sam2adapt.segmenting.slices import normalise
from sam2adapt.training.losses import SegmentationLoss
from sam2adapt.training.record import load_checkpoint, save_checkpoint
from sam2adapt.training.step import attention_of, schedule
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """How a base is pretrained.

    :param stages: one after the other, with equal parts of the budget.
    :param contrast: share of the real slices that get a random contrast; ``made_up``: share of made-up batches.
    """

    stages: tuple[str, ...] = ("supervised",)
    contrast: float = 0.0
    made_up: float = 0.0


RECIPES = {
    "supervised": Recipe(), "contrast": Recipe(contrast=0.5), "made-up": Recipe(contrast=0.5, made_up=0.3),
    "mae": Recipe(("mae",)), "mae+supervised": Recipe(("mae", "supervised")), "none": Recipe(()),
}  # fmt: skip
_SECONDS_BETWEEN_SAVES = 120
_STEPS_BETWEEN_LINES = 100
_WARMUP = 0.05


class Stage:
    """A network in training, with averaged weights.

    :param base: the image path that is pretrained, or a part of ``network`` that is.
    """

    def __init__(self, base: ImagePath, network: nn.Module, rate: float):
        self.base, self.rate = base, rate
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device).train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=0.05, fused=True)
        self.average = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def loss_of(self, part: Source | MadeUp, images: Tensor, targets: Tensor, step: int) -> Tensor:
        """Loss of a batch: images (B, 3, H, W) in 0..1, targets (B, H, W)."""
        raise NotImplementedError

    def step(self, loss: Tensor, fraction: float, number: int) -> None:
        """One step down the slope of a loss, the ``number``-th of this stage."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * schedule(fraction, _WARMUP)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        decay = min(0.998, (1 + number) / (10 + number))
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                self.average[name].lerp_(tensor, 1 - decay)

    def state(self) -> dict:
        """What a checkpoint holds of it."""
        return {
            "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average,
        }  # fmt: skip

    def restore(self, saved: dict) -> None:
        """Go on from what ``state`` gave."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.average = {name: tensor.to(self.device) for name, tensor in saved["average"].items()}

    def finished(self) -> ImagePath:
        """The base with the averaged weights, on the CPU."""
        self.network.load_state_dict(self.average)
        return self.base.cpu()


class Masked(Stage):
    """The trunk as a masked autoencoder."""

    def __init__(self, base: ImagePath, args: argparse.Namespace):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(args.seed)
            network = MaskedAutoencoder(base.image_encoder.trunk)
        super().__init__(base, network.requires_grad_(True), args.rate)
        self.seed = args.seed

    def loss_of(self, part: Source | MadeUp, images: Tensor, targets: Tensor, step: int) -> Tensor:
        """Error of the masked units; which ones follows from seed and step."""
        grey = images.to(self.device)
        visible = self.network.draw(grey, torch.Generator().manual_seed(self.seed * 1_000_003 + step))
        with autocast(self.device):
            return self.network.loss(grey, normalise(grey), visible)


class Supervised(Stage):
    """The whole network on the labels of all packs."""

    def __init__(self, base: ImagePath, classes: int, args: argparse.Namespace):
        network = SegmentationNetwork(base, classes, peg="none").requires_grad_(True)
        super().__init__(base, network, args.rate)
        self.loss = SegmentationLoss({"ce": 1, "dice": 1})

    def loss_of(self, part: Source | MadeUp, images: Tensor, targets: Tensor, step: int) -> Tensor:
        """Loss over the classes of the batch's pack."""
        with autocast(self.device), attention_of(self.device, tuple(images.shape[-2:])):
            logits = self.network(normalise(images.to(self.device)))
        return self.loss(logits[:, part.channels], targets.to(self.device))

    def finished(self) -> ImagePath:
        """The averaged base; its mask token and that token's last layer become the mean of the classes' own."""
        base, head = super().finished(), self.network.head
        last = base.sam_mask_decoder.output_hypernetworks_mlps[0].layers[2]
        with torch.no_grad():
            base.sam_mask_decoder.mask_tokens.weight[0] = head.tokens.mean(dim=0).cpu()
            last.weight.copy_(head.weight.mean(dim=0))
            last.bias.copy_(head.bias.mean(dim=0))
        return base


class Pretraining:
    """The stages of a recipe one after the other, and how far they are."""

    def __init__(self, args: argparse.Namespace, parts: list[Source | MadeUp], classes: int):
        self.args, self.parts, self.classes = args, parts, classes
        self.recipe = RECIPES[args.recipe]
        self.names = self.recipe.stages
        self.base, begun = load_base(args.start) if args.start else random_base("nano", args.seed)
        self.options = {"recipe": args.recipe, "start": begun["sha256"]}
        self.progress = {"stage": 0, "step": 0, "begun": 0, "seconds": 0.0}
        self.losses: list[tuple[str, float]] = []
        self.checkpoint = args.work / "pretrain.pt"
        saved = load_checkpoint(self.checkpoint) if self.checkpoint.exists() else None
        if saved:
            if saved["options"] != self.options:
                recipe, start = saved["options"].values()
                raise SystemExit(
                    f"'{self.checkpoint}' is of recipe {recipe} from a base with hash {start[:8]}: take another --work."
                )
            self.progress = saved["progress"]
        self.stage = self._stage()
        if saved and self.stage:
            self.stage.restore(saved["state"])
        elif saved:
            self.base.load_state_dict(saved["state"]["base"])

    def _stage(self) -> Stage | None:
        number = self.progress["stage"]
        if number == len(self.names):
            return None
        if self.names[number] == "mae":
            return Masked(self.base, self.args)
        return Supervised(self.base, self.classes, self.args)

    @property
    def fraction(self) -> float:
        """Share of the stage's part of the budget that is spent."""
        stages, done = len(self.names), self.progress
        if self.args.steps:
            return min(1.0, (done["step"] - done["begun"]) / (self.args.steps / stages))
        return min(1.0, done["seconds"] / (self.args.minutes * 60 / stages))

    def run(self) -> ImagePath:
        """Train to the end of the budget; a run that was broken off goes on from its last checkpoint."""
        steps = Steps(self.parts, self.args.batch, self.args.seed)
        stream = iter(steps.batches(self.progress["step"], self.args.workers)) if self.stage else None
        last, saved = time.perf_counter(), self.progress["seconds"]
        while self.stage:
            number, images, targets = next(stream)
            step = self.progress["step"]
            loss = self.stage.loss_of(self.parts[number], images, targets, step)
            self.stage.step(loss, self.fraction, step - self.progress["begun"])
            now = time.perf_counter()
            self.progress["seconds"], last = self.progress["seconds"] + now - last, now
            self.progress["step"] += 1
            self._tell(self.parts[number].name, loss)
            if self.fraction >= 1:
                self.base = self.stage.finished()
                self.progress |= {"stage": self.progress["stage"] + 1, "begun": self.progress["step"], "seconds": 0.0}
                self.stage = self._stage()
                self.save()
                saved = 0.0
            elif self.progress["seconds"] - saved > _SECONDS_BETWEEN_SAVES:
                saved = self.progress["seconds"]
                self.save()
        return self.base

    def _tell(self, name: str, loss: Tensor) -> None:
        self.losses.append((name, loss.item()))
        if self.progress["step"] % _STEPS_BETWEEN_LINES:
            return
        means = {p.name: [value for name, value in self.losses if name == p.name] for p in self.parts}
        self.losses.clear()
        text = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in means.items() if values)
        what, seconds = self.names[self.progress["stage"]], self.progress["seconds"]
        print(f"{what}: {seconds:.0f} s, step {self.progress['step']}: {text}", flush=True)

    def save(self) -> None:
        """Write the checkpoint from which an interrupted run goes on."""
        state = self.stage.state() if self.stage else {"base": self.base.state_dict()}
        save_checkpoint(self.checkpoint, {"options": self.options, "progress": self.progress, "state": state})


def options() -> argparse.ArgumentParser:
    """Options of this command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the packs")
    parser.add_argument("--work", type=Path, required=True, help="folder for prepared slices and checkpoint")
    parser.add_argument("--recipe", choices=RECIPES, default="supervised", help="(default: %(default)s)")
    parser.add_argument("--start", help="base to go on from, a name or a file (default: random numbers)")
    parser.add_argument("--minutes", type=float, default=25, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, help="of the optimiser, in the place of --minutes")
    parser.add_argument("--batch", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=1e-3, help="(default: %(default)s)")
    parser.add_argument("--research", action="store_true", help="also train on packs that may not be passed on")
    parser.add_argument("--without", default="", help="packs to leave out, those to be tested on")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def pretrain(args: argparse.Namespace, output: Path) -> None:
    """Pretrain as the options say and write the base file."""
    args.work.mkdir(parents=True, exist_ok=True)
    packs = permissive(args.data, args.work) + (research(args.data) if args.research else [])
    packs = [pack for pack in packs if pack.name not in args.without.split(",")]
    recipe = RECIPES[args.recipe]
    parts, classes = sources(packs, args.work, recipe.contrast, recipe.made_up)
    run = Pretraining(args, parts, classes)
    base = run.run()
    card = {
        "license": "research only, not to be passed on" if args.research else "CC-BY-SA-4.0",
        "description": "Small Hiera of SAM2's classes, pretrained by Testing/benchmarks/pretrain.py.",
        "training": {
            "data": ", ".join(f"{pack.name} ({len(pack.cases)} cases)" for pack in packs),
            "recipe": args.recipe, "start": run.options["start"] if args.start else None,
            "steps": run.progress["step"], "batch": args.batch, "seed": args.seed,
            "minutes": None if args.steps else args.minutes,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {next(base.parameters()).device}",
        },
    }  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    write_base(output, "nano", base, card)
    shutil.rmtree(args.work / "prepared", ignore_errors=True)
    print(f"Wrote {output}, {output.stat().st_size / 1e6:.1f} MB", flush=True)


def main() -> None:
    """Pretrain and write the base file."""
    parser = options()
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    pretrain(args, args.output)


if __name__ == "__main__":
    main()
