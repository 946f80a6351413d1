"""Train the start of filling, the combiner's weights, anew: ``python Testing/benchmarks/fill_start.py --work WORK``.

It learns from volumes that are labelled throughout: some slices count as drawn, and the truth of the others is what the
combiner shall say. Slices are taken along all directions, thinned out, and drawn at several densities, a few structures
at a time, so that it knows no structure by name. The shipped weights have seen the training part of ``hippocampus``,
the CT and MR of ``ct_sample``, which may be passed on, structures made up in the latter (``fill_start_shapes.py``), and
made-up volumes. ``--without`` leaves a set out, to measure on it. Samples are kept in WORK, loss and minutes in
``results/fill_start.csv``; a command that was stopped goes on with the samples that are there.
"""

import argparse
import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from fill_cases import FillCase, cases_of, ct_case
from fill_start_shapes import coarser, longer_ct, made_up_structures, made_up_volume
from safetensors.torch import save_file
from sam2adapt.filling.combiner import Combiner
from sam2adapt.filling.filler import START
from sam2adapt.filling.grey import scale_grey
from sam2adapt.filling.opinions.evidence import OPINIONS
from sam2adapt.filling.plane_grid import make_grid
from sam2adapt.filling.stack_filler import StackFiller
from sam2adapt.filling.threads import Team
from torch import Tensor
from torch.nn import functional as F

SIDE = 96  # pixels of a stored sample
CROP = 64
STRUCTURES = 6  # of a volume at a time
MOST = 24  # samples of a view
DENSITIES = (2, 3, 4, 8, "three")
IMAGE = OPINIONS + 6  # channel of the grey levels
RESULTS = Path(__file__).parent / "results" / "fill_start.csv"
FIELDS = ("weights", "without", "steps", "seed", "last loss", "minutes", "cpu minutes")
# How many cases, views of each, and the share of what is drawn from in training.
SETS = {
    "hippocampus": (36, 2, 1.0), "ts_ct_3mm": (1, 10, 1.0), "ts_mr_3mm": (1, 10, 1.0), "chaos_ct": (1, 8, 0.5),
    "ts_ct_3mm made-up": (9, 2, 1.0), "ts_mr_3mm made-up": (9, 2, 1.0), "chaos_ct made-up": (8, 2, 1.0),
    "shapes": (48, 1, 1.0),
}  # fmt: skip


def main() -> None:
    """Make samples where they are missing, train, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAM2ADAPT_DATA", "")))
    parser.add_argument("--work", type=Path, required=True, help="folder for the samples")
    parser.add_argument("--without", default="", choices=["", *SETS], help="a set not to be seen, nor made-up in it")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only-samples", action="store_true", help="train nothing")
    parser.add_argument("--output", type=Path, default=START)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    names = [name for name in SETS if not (args.without and name.startswith(args.without))]
    parts = [_samples(name, args.data, args.work / f"{name}.npz") for name in names]
    if args.only_samples:
        return
    started, cpu = time.perf_counter(), time.process_time()
    combiner, loss = train(parts, [SETS[name][2] for name in names], args.steps, args.seed)
    save_file({name: tensor.half().contiguous() for name, tensor in combiner.state_dict().items()}, args.output)
    _record(args, loss, time.perf_counter() - started, time.process_time() - cpu)


def _record(args: argparse.Namespace, loss: float, seconds: float, cpu: float) -> None:
    """Write the line of these weights in the table, in place of that of an earlier training."""
    rows = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["weights"] != args.output.name]
    values = [args.output.name, args.without, args.steps, args.seed, f"{loss:.4f}", f"{seconds / 60:.1f}"]
    rows.append(dict(zip(FIELDS, [*values, f"{cpu / 60:.1f}"], strict=True)))
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


def train(
    parts: list[tuple[np.ndarray, np.ndarray]], shares: list[float], steps: int, seed: int, batch: int = 8,
    rate: float = 3e-3,
) -> tuple[Combiner, float]:  # fmt: skip
    """Train on samples, sets by turns: cross entropy and soft Dice of each structure in each slice.

    :param shares: how often a sample comes from each set.
    :return: the weights, and the mean loss of the last steps.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    combiner = Combiner()
    optimiser = torch.optim.AdamW(combiner.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    mean = 1.0
    for step in range(steps):
        sets = random.choice(len(parts), batch, p=np.array(shares) / sum(shares))
        chosen = [_augmented(*parts[one], random) for one in sets]
        inputs, truth = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*chosen, strict=True))
        loss = _loss(combiner(inputs), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        mean = 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {mean:.3f}", flush=True)
    return combiner, mean


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Of (B, H, W); 2 in the truth is outside of the image."""
    inside, target = (truth < 2).float(), (truth == 1).float()
    share = torch.sigmoid(logits) * inside
    size = target.sum((1, 2)) + (share > 0.5).sum((1, 2))
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * inside
    dice = (2 * (share * target).sum((1, 2)) + 1) / (share.sum((1, 2)) + target.sum((1, 2)) + 1)
    return (entropy.sum((1, 2)) / (size + 50) + 0.5 * (1 - dice)).mean()


def _augmented(inputs: np.ndarray, truth: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A sample of a set, cropped, mirrored and turned, half of the time with black and white exchanged."""
    index = random.integers(len(inputs))
    row, column = random.integers(0, SIDE - CROP + 1, 2)
    maps = np.concatenate([inputs[index].astype(np.float32), truth[index][None].astype(np.float32)])
    maps = maps[:, row : row + CROP, column : column + CROP]
    maps = np.rot90(maps, random.integers(4), (1, 2))
    maps = maps[:, ::-1] if random.random() < 0.5 else maps
    maps = maps.copy()
    if random.random() < 0.5:
        maps[IMAGE] *= -1
    return maps[:-1], maps[-1].astype(np.uint8)


def _samples(name: str, data: Path, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (N, 19, 96, 96) float16 and truth (N, 96, 96) of a set, kept in a file."""
    if not path.exists():
        count, views, _ = SETS[name]
        random = np.random.default_rng(0)
        started, found = time.process_time(), []
        for case in _cases(name, data, count, random):
            found += list(_of_case(case, views, random))
        inputs, truth = (np.stack(arrays) for arrays in zip(*found, strict=True))
        said = inputs[:, : OPINIONS + 1] > 0
        inside = (truth < 2)[:, None]
        dice = 2 * (said & (truth == 1)[:, None]).sum((0, 2, 3)) / ((said & inside).sum((0, 2, 3)) + (truth == 1).sum())
        np.savez(path, inputs=inputs, truth=truth)
        print(
            f"{name}: {len(found)} samples, {time.process_time() - started:.0f} s, opinions {dice.round(3)}", flush=True
        )
    with np.load(path) as stored:
        return stored["inputs"], stored["truth"]


def _cases(name: str, data: Path, count: int, random: np.random.Generator) -> Iterator[FillCase]:
    """Volumes labelled throughout."""
    if name == "hippocampus":
        yield from cases_of(name, data, "train", count)
    elif name == "shapes":
        for _ in range(count):
            yield made_up_volume(random)
    elif name.endswith("made-up"):
        case = longer_ct(data) if name.startswith("ts_ct") else coarser(ct_case(name.split(maxsplit=1)[0], data))
        for _ in range(count):
            yield made_up_structures(case, random)
    else:
        yield coarser(ct_case(name, data))


def _of_case(case: FillCase, views: int, random: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Samples of a volume: so many directions, thicknesses and densities."""
    ways = [(axis, thin, density) for axis in range(3) for thin in (1, 2) for density in DENSITIES]
    for place in random.permutation(len(ways))[:views]:
        axis, thin, density = ways[place]
        truth = np.moveaxis(case.truth, axis, 0)[::thin]
        images = np.moveaxis(scale_grey(case.volume.array[0]), axis, 0)[::thin]
        used = np.flatnonzero(truth.any((1, 2)))
        if len(used) < 4:
            continue
        if density == "three":
            drawn = sorted({int(used[0]), int(used[0] + used[-1]) // 2, int(used[-1])})
        else:
            drawn = sorted({*range(0, len(truth), density), len(truth) - 1})
        spacing = case.volume.spacing[::-1]
        across = [float(mm) for k, mm in enumerate(spacing) if k != axis]
        if max(across) < 1.5 * min(across):
            yield from _of_stack(images, truth, drawn, float(spacing[axis]) * thin, (across[0], across[1]), random)


def _of_stack(images, truth, drawn, thickness, across, random) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Samples of the slices between drawn ones."""
    values = [value for value in np.unique(truth) if value and (truth[drawn] == value).sum() > 30]
    if not values:
        return
    values = random.permutation(values)[:STRUCTURES]
    grid = make_grid(np.isin(truth, values).any(0), across)
    masks = [np.stack([grid.to_work(slice_ == value) for slice_ in truth]) for value in values]
    images = np.stack([grid.to_work(image) for image in images])
    filler = StackFiller(images, thickness / grid.pixel, None, Team(1))
    filler.learn([{k: mask[k] for k in drawn} for mask in masks], lambda share: None)
    given = 0
    for place in random.permutation([k for k in range(drawn[0], drawn[-1]) if k not in drawn])[:8]:
        found = [filler.evidence.at(index, int(place)) for index in range(len(values))]
        inputs = filler.combiner_inputs(found, int(place))
        for own, mask in zip(inputs, masks, strict=True):
            if own is not None and given < MOST and (mask[place].any() or (own[[0, 1, OPINIONS]] > -0.5).any()):
                given += 1
                yield _cut(own, mask[place], random)


def _cut(inputs: np.ndarray, truth: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A square round a point near the expected outline."""
    near = np.argwhere(truth | (np.abs(inputs[1]) < 0.3))
    centre = near[random.integers(len(near))] if len(near) else np.array(truth.shape) // 2
    start = [int(np.clip(c - SIDE // 2, 0, max(0, n - SIDE))) for c, n in zip(centre, truth.shape, strict=True)]
    window = tuple(slice(s, s + SIDE) for s in start)
    height, width = truth[window].shape
    maps = np.zeros((len(inputs), SIDE, SIDE), np.float16)
    target = np.full((SIDE, SIDE), 2, np.uint8)
    maps[:, :height, :width] = inputs[(slice(None), *window)]
    target[:height, :width] = truth[window]
    return maps, target


if __name__ == "__main__":
    main()
