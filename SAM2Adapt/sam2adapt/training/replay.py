"""Slices from the training and validation of a model, kept so that models that continue it do not forget them.

A sample of the prepared slices is in the user's home folder, under the digest of the model. It is never part of the
model file.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch

from ..evaluation.metrics import dice_counts
from ..machine.device import autocast
from ..network.network import SegmentationNetwork
from ..segmenting.slices import normalise, with_neighbours
from ..shared.files import atomic_write, replay_file
from ..shared.labels.annotation import IGNORE
from ..shared.safety.private import FILE_MODE, Lock, private_folder
from .prepare import PreparedCase

MOST = 200  # training slices that are kept
_MOST_VALIDATION = 100
_EMPTY_SHARE = 0.2  # the most slices without structures among those that are kept
_BATCH = 8


@dataclass
class Kept:
    """Slices of one case.

    :param grey: (N, 3, h, w) uint8, neighbours as channels; ``target``: (N, h, w) uint8, indices into ``classes``
        from 1 on, 0 for the background and ``IGNORE`` where nothing was annotated.
    :param classes: names of what was annotated in this case.
    """

    grey: np.ndarray
    target: np.ndarray
    classes: list[str]


@dataclass
class Replay:
    """Slices kept from the training and the validation of a model."""

    train: list[Kept]
    val: list[Kept]


def read_replay(digest: str) -> Replay | None:
    """Read the slices kept from a model; None if this machine has none or cannot read them."""
    try:
        with np.load(replay_file(digest), allow_pickle=False) as file:
            parts = json.loads(str(file["parts"]))
            kept = {
                part: [Kept(file[f"{part}{n}_grey"], file[f"{part}{n}_target"], names) for n, names in enumerate(all_)]
                for part, all_ in parts.items()
            }
            return Replay(kept["train"], kept["val"])
    except (OSError, ValueError, KeyError):
        return None


def write_replay(digest: str, replay: Replay) -> None:
    """Keep slices of a model.

    :raises OutputError: they cannot be written.
    """
    arrays = {"parts": np.array(json.dumps({part: [k.classes for k in kept] for part, kept in vars(replay).items()}))}
    for part, kept in vars(replay).items():
        for number, slices in enumerate(kept):
            arrays |= {f"{part}{number}_grey": slices.grey, f"{part}{number}_target": slices.target}
    path = replay_file(digest)
    lock = Lock(private_folder(path.parent) / ".lock")  # while it is held, no process removes an incomplete file
    try:
        with atomic_write(path, FILE_MODE) as file:
            np.savez_compressed(file, **arrays)
    finally:
        lock.release()


def gather(cases: list[PreparedCase], classes: list[str], context: int, seed: int, validation: bool = False) -> list:
    """Choose slices of new cases to keep: evenly from all cases, those with structures first."""
    generator = np.random.default_rng([seed, len(cases)])
    most = _MOST_VALIDATION if validation else MOST
    kept = []
    for case in cases:
        share = max(1, most // len(cases))
        empty = sorted(set(case.annotated) - set(case.foreground))
        full = _drawn(case.foreground, share, generator)
        chosen = sorted(full + _drawn(empty, min(round(share * _EMPTY_SHARE), share - len(full)), generator))
        if chosen:
            block = torch.from_numpy(np.asarray(case.grey, dtype=np.float32))
            grey = torch.cat([with_neighbours(block, k, k + 1, context) for k in chosen])
            kept.append(Kept((255 * grey).round().byte().numpy(), np.array(case.target[chosen]), list(classes)))
    return kept[:most]


def _drawn(slices: list[int], count: int, generator: np.random.Generator) -> list[int]:
    if len(slices) <= count:
        return list(slices)
    return [slices[i] for i in generator.choice(len(slices), max(0, count), replace=False)]


def joined(former: list[Kept], new: list[Kept], most: int, seed: int) -> list[Kept]:
    """Join old and new slices; if there are too many, each side gets half of the places."""
    counts = [sum(len(kept.grey) for kept in part) for part in (former, new)]
    room = [max(most // 2, most - counts[1]), max(most // 2, most - counts[0])]
    generator = np.random.default_rng([seed, most])
    return [kept for part, count in zip((former, new), room, strict=True) for kept in _thinned(part, count, generator)]


def _thinned(part: list[Kept], count: int, generator: np.random.Generator) -> list[Kept]:
    places = [(number, k) for number, kept in enumerate(part) for k in range(len(kept.grey))]
    if len(places) <= count:
        return part
    chosen = [places[i] for i in sorted(generator.choice(len(places), count, replace=False))]
    thinned = []
    for number, kept in enumerate(part):
        rows = [k for n, k in chosen if n == number]
        if rows:
            thinned.append(Kept(kept.grey[rows], kept.target[rows], kept.classes))
    return thinned


def merged(former: Replay | None, new: Replay, seed: int) -> Replay:
    """Slices to keep for a model that continues another one."""
    if former is None:
        return new
    return Replay(joined(former.train, new.train, MOST, seed), joined(former.val, new.val, _MOST_VALIDATION, seed))


def as_cases(replay: Replay, classes: list[str]) -> list[PreparedCase]:
    """The kept training slices as cases for a training on these classes, matched by name.

    If a class was not annotated then, it may be in the former background, which therefore counts as not annotated.
    """
    cases = []
    for number, kept in enumerate(replay.train):
        table = _table(kept, classes)
        if not set(_lower(classes)) <= set(_lower(kept.classes)):
            table[0] = IGNORE
        target = table[kept.target]
        shown = [k for k in range(len(target)) if (target[k] != IGNORE).any()]
        grey = (kept.grey / np.float32(255)).astype(np.float16)
        cases.append(PreparedCase(f"former {number + 1}", grey, target, shown, shown, former=True))
    return cases


def _table(kept: Kept, classes: list[str]) -> np.ndarray:
    """For each class index of a kept case, the index among these classes; 0 if it is not among them."""
    table = np.zeros(256, np.uint8)
    table[IGNORE] = IGNORE
    for index, name in enumerate(_lower(kept.classes), start=1):
        table[index] = _lower(classes).index(name) + 1 if name in _lower(classes) else 0
    return table


def _lower(names: list[str]) -> list[str]:
    return [name.lower() for name in names]


@torch.no_grad()
def former_dice(
    network: SegmentationNetwork, replay: Replay, classes: list[str], device: torch.device
) -> dict[str, float] | None:
    """Dice of each class that model and kept validation slices share, and the mean; None if they share none.

    Each Dice is over the pixels of all slices together, on the grid of the network. A class counts only in cases where
    it was annotated.
    """
    counts: dict[str, np.ndarray] = {}
    training = network.training
    network.eval()
    for kept in replay.val:
        table, names = _table(kept, classes), set(_lower(kept.classes))
        for start in range(0, len(kept.grey), _BATCH):
            grey = torch.from_numpy(kept.grey[start : start + _BATCH]).to(device).float() / 255
            with autocast(device):
                predicted = network(normalise(grey)).argmax(dim=1).cpu().numpy()
            truth = table[kept.target[start : start + _BATCH]]
            for index, name in enumerate(classes, start=1):
                if name.lower() in names:
                    count = counts.setdefault(name, np.zeros(2, np.int64))
                    count += dice_counts((predicted == index) & (truth != IGNORE), truth == index)
    network.train(training)
    dice = {name: float(hits / total) for name, (hits, total) in counts.items() if total}
    return {"mean": float(np.mean(list(dice.values()))), **dice} if dice else None
