"""Measured for `segment` and left out: slices prepared ahead on the processor, air around the body cut off.

``python Testing/benchmarks/left_out.py VOLUME --model NAME`` prints seconds of each way, by turns in rounds, and the
Dice between the labels with and without cropping.
"""

import argparse
import random
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from sam2adapt.imaging.volume import read_volume
from sam2adapt.segmenting import predict
from sam2adapt.segmenting.model import Model, load_model
from sam2adapt.segmenting.slices import IMAGENET_MEAN, IMAGENET_STD

_AIR = 0.06  # of the grey levels' range: -927 HU for torso-ct
_MARGIN = 8
_STRIDE = 32


def bounds(occupied: torch.Tensor, aligned: bool) -> slice:
    """Positions of one axis that are kept: as few multiples of 32 as hold what is occupied and a margin.

    :param occupied: (n,) bool.
    :param aligned: start at a multiple of 32 too, so that windows lie as they do in the whole image.
    """
    n, found = len(occupied), occupied.nonzero().flatten()
    if not len(found):
        return slice(0, min(n, _STRIDE))
    if aligned:
        return slice(int(found[0]) // _STRIDE * _STRIDE, min(n, (int(found[-1]) // _STRIDE + 1) * _STRIDE))
    low, high = max(0, int(found[0]) - _MARGIN), min(n, int(found[-1]) + 1 + _MARGIN)
    side = min(n, -(-(high - low) // _STRIDE) * _STRIDE)
    low = max(0, min(low - (side - (high - low)) // 2, n - side))
    return slice(low, low + side)


def cropping(aligned: bool):
    """``predict._logits`` that computes the body only; outside is background."""
    whole = predict._logits
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))

    def logits(model: Model, images: torch.Tensor, scales: tuple[float, ...]) -> list[torch.Tensor]:
        occupied = (images * deviation + mean).amax((0, 1)) > _AIR
        rows, columns = bounds(occupied.any(1), aligned), bounds(occupied.any(0), aligned)
        (inside,) = whole(model, images[..., rows, columns], scales)
        out = inside.new_full((*inside.shape[:2], *images.shape[-2:]), -1.0)
        out[:, 0] = 1
        out[..., rows, columns] = inside
        return [out]

    return logits


def dice(own: np.ndarray, other: np.ndarray) -> float:
    """Smallest Dice of a structure between two label volumes."""
    values = [value for value in np.union1d(own, other) if value]
    return min(2 * ((own == v) & (other == v)).sum() / ((own == v).sum() + (other == v).sum()) for v in values)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    volume, model = read_volume(args.volume), load_model(args.model)
    plain = {"_reads_ahead": lambda device: False, "_logits": predict._logits}
    ways = {
        "as it is": {},
        "slices prepared ahead in a thread": {"_reads_ahead": lambda device: True},
        "air cut off": {"_logits": cropping(aligned=False)},
        "air cut off, windows in their places": {"_logits": cropping(aligned=True)},
    }
    seconds, labels = {way: [] for way in ways}, {}
    for counted in [False] + [True] * args.rounds:
        for way in random.sample(list(ways), len(ways)):
            for name, value in (plain | ways[way]).items():
                setattr(predict, name, value)
            started = time.perf_counter()
            labels[way] = predict.segment(volume, model).labels.array
            if counted:
                seconds[way].append(time.perf_counter() - started)
    base = statistics.median(seconds["as it is"])
    print(f"{args.volume}, {model.name}, {torch.get_num_threads()} threads, {args.rounds} rounds\n")
    print("| way | seconds | of as it is | Dice with as it is, worst structure |\n| --- | --- | --- | --- |")
    for way, found in seconds.items():
        median = statistics.median(found)
        print(f"| {way} | {median:.2f} | {median / base:.2f} | {dice(labels[way], labels['as it is']):.4f} |")


if __name__ == "__main__":
    main()
