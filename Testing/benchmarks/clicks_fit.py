"""Teach the network that says how far a click spreads (``correcting/spread.json``).

    python Testing/benchmarks/clicks_fit.py --data DATA

It learns from made-up volumes and from CTs that may be passed on, with structures that are drawn or made up, and with
made-up mistakes of a model. None of the sets on which ``clicks.py`` measures takes part.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from fill_cases import FillCase, cases_of
from fill_start_shapes import coarser, made_up_structures, made_up_volume
from sam2adapt.correcting import spread
from sam2adapt.correcting.neighbourhood import (
    FEATURES,
    Slice,
    consistent,
    features,
    margin_of_mask,
    reach_of,
    window_of,
)
from scipy import ndimage
from simulated_clicks import next_click

TARGET = Path(spread.__file__).with_name("spread.json")
SETS = ("ctchest4", "ts_ct_3mm", "chaos_ct")
CLICKS, MOST_PIXELS = 5, 250  # for each slice; pixels to learn from for each click
STEPS, BATCH, RATE = 3000, 2048, 1e-2


def slices_of(case: FillCase, count: int, random: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some slices (H, W) of grey levels, 0 to 1, with a structure's truth (H, W)."""
    array = case.volume.array[0].astype(np.float32)
    low, high = np.percentile(array, (0.5, 99.5)) if random.random() < 0.7 else np.sort(random.choice(array.ravel(), 2))
    for _ in range(count):
        value = random.choice(case.values) if case.values else 0
        places = np.flatnonzero((case.truth == value).any((1, 2)))
        if value and len(places):
            place = random.choice(places)
            yield np.clip((array[place] - low) / ((high - low) or 1), 0, 1), case.truth[place] == value


def mistaken(truth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Margin (H, W) of a made-up model: the outline is displaced, parts are missing or too many, doubt varies."""
    margin = margin_of_mask(truth) if random.random() < 0.5 else np.clip(margin_of_mask(truth), -4, 4)
    size = np.sqrt(truth.sum())
    for width in random.uniform(0.05, 0.5, 2) * size:
        field = ndimage.gaussian_filter(random.normal(size=truth.shape), max(1.5, width))
        margin = margin + random.uniform(0.05, 0.35) * size * field / field.std()
    if random.random() < 0.15:
        margin = margin - random.uniform(0.5, 1.5) * margin.max()  # missing, mostly or wholly
    margin = ndimage.gaussian_filter(margin, random.uniform(0, 1.5)) * random.uniform(0.2, 1.5)
    return np.clip(margin, -12, 12).astype(np.float32)


def samples(
    cases: list[FillCase], flat: np.ndarray | None, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, F) of pixels around simulated clicks, and whether they are as the click wants.

    :param flat: weights that decide how far the clicks before spread; None: each as far as its reach.
    """
    described, targets = [], []
    for case in cases:
        for grey, truth in slices_of(case, 6, random):
            margin, is_known = mistaken(truth, random), random.random() < 0.75
            mask = margin > 0
            for _ in range(CLICKS):
                error = next_click(mask.astype(np.uint8), truth.astype(np.uint8))
                if error is None or np.count_nonzero(mask != truth) < 4:
                    break
                part = Slice(grey[None], margin if is_known else margin_of_mask(mask), mask, is_known)
                window, pixels = _described(part, error.click)
                candidates = np.flatnonzero(mask[window] != error.click.positive)
                chosen = random.permutation(candidates)[:MOST_PIXELS]
                described.append(pixels.reshape(FEATURES, -1)[:, chosen].T)
                targets.append((truth[window] == error.click.positive).ravel()[chosen])
                mask = _next(part, error.click, flat)
    return np.concatenate(described), np.concatenate(targets)


def _described(part: Slice, click: spread.Click) -> tuple[tuple[slice, slice], np.ndarray]:
    reach = reach_of(part.mask, click.pixels, click.positive)
    window = window_of(click.pixels, reach, part.mask.shape)
    inside = Slice(part.grey[:, *window], part.margin[window], part.mask[window], part.is_known)
    inside.margin = consistent(inside.margin, inside.mask)
    seeds = click.pixels - [window[0].start, window[1].start]
    return window, features(inside, inside.smoothed(), seeds, click.positive, reach)


def _next(part: Slice, click: spread.Click, flat: np.ndarray | None) -> np.ndarray:
    if flat is None:
        away = np.ones(part.mask.shape, bool)
        away[tuple(click.pixels.T)] = False
        near = ndimage.distance_transform_edt(away) <= reach_of(part.mask, click.pixels, click.positive)
        return np.where(near, click.positive, part.mask)
    spread.weights = lambda: flat
    return spread.spread(part, click)


def fitted(described: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """All weights of the network after learning."""
    torch.manual_seed(0)
    inputs, wanted = torch.from_numpy(described), torch.from_numpy(targets).float()
    hidden = spread.HIDDEN
    layers = torch.nn.Sequential(torch.nn.Linear(FEATURES, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 1))
    optimiser = torch.optim.AdamW(layers.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(inputs), (BATCH,))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(layers(inputs[chosen])[:, 0], wanted[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        right = ((layers(inputs)[:, 0] > 0) == (wanted > 0.5)).float().mean()
    print(f"{len(inputs):,} pixels, {100 * wanted.mean():.1f} % to change, {100 * right:.1f} % right, loss {loss:.3f}")
    return torch.cat([p.flatten() for p in layers.parameters()]).detach().numpy()


def main() -> None:
    """Collect, learn, and collect again with what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAM2ADAPT_DATA", "")))
    parser.add_argument("--made-up", type=int, default=100, help="number of made-up volumes (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    cases = [made_up_volume(random) for _ in range(args.made_up)]
    for name in SETS:
        for case in map(coarser, cases_of(name, args.data, "train", None)):
            cases += [case] * 4 + [made_up_structures(case, random) for _ in range(3)]
    flat, parts = None, []
    for _ in range(args.rounds):
        parts.append(samples(cases, flat, random))
        flat = fitted(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    TARGET.write_text(json.dumps({"weights": [round(float(weight), 4) for weight in flat]}) + "\n")


if __name__ == "__main__":
    main()
