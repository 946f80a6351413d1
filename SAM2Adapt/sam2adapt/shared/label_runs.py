"""Label volumes as runs: pieces of rows of one label, whose number goes with the surfaces and not with the voxels.

Pieces, holes and counts are found from runs with a few bytes for each, where arrays of piece numbers take four or eight
bytes for every voxel of a volume.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FACES, CORNERS = 0, 1  # how voxels must touch to be of one piece

_VOXELS_AT_ONCE = 1 << 22  # looked at together; what is kept of them is their runs


@dataclass(frozen=True)
class Runs:
    """Runs in the order of voxels.

    :ivar row: (R,) number of the row, ``k * J + j``.
    :ivar start, stop: (R,) first voxel in the row, and the one after the last.
    :ivar label: (R,) value of the voxels.
    :ivar rows: J, rows a slice.
    """

    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    label: np.ndarray
    rows: int

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, chosen: np.ndarray) -> "Runs":
        return Runs(self.row[chosen], self.start[chosen], self.stop[chosen], self.label[chosen], self.rows)

    @property
    def length(self) -> np.ndarray:
        """(R,) voxels of each run."""
        return self.stop - self.start

    def joined(self) -> tuple["Runs", np.ndarray]:
        """Runs of the label 1 of all voxels, whatever label they have, and (R,) which of them each run is in."""
        begins = np.ones(len(self), bool)
        begins[1:] = (self.row[1:] != self.row[:-1]) | (self.start[1:] != self.stop[:-1])
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(self))[: len(first)] - 1
        label = np.ones(len(first), self.label.dtype)
        return Runs(self.row[first], self.start[first], self.stop[last], label, self.rows), begins.cumsum() - 1

    def paint(self, labels: np.ndarray, value: int, over: int | None = None) -> None:
        """Give the voxels of all runs a value in an array (K, J, I), in place.

        :param over: change only voxels of this value.
        """
        slices, rows = np.divmod(self.row, self.rows)
        for k, j, start, stop in zip(*(n.tolist() for n in (slices, rows, self.start, self.stop)), strict=True):
            voxels = labels[k, j, start:stop]
            voxels[... if over is None else voxels == over] = value


def find_runs(labels: np.ndarray) -> Runs:
    """Runs of all labels but 0 of an array (K, J, I) in any order in memory."""
    row, start, stop, label = (np.concatenate(part) for part in zip(*_slabs(labels), strict=True))
    return Runs(row, start, stop, label, labels.shape[1])


def count_labels(labels: np.ndarray) -> np.ndarray:
    """Voxels of each label from 0 to 255 or more, of an array (K, J, I); numpy.bincount would widen it to 64 bits."""
    counts = np.zeros(256, np.int64)
    for _, start, stop, label in _slabs(labels):
        found = np.bincount(label, stop - start, minlength=len(counts)).astype(np.int64)
        found[: len(counts)] += counts
        counts = found
    counts[0] = labels.size - counts.sum()
    return counts


def _slabs(labels: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Row, start, stop and label of the runs of a few slices after the other."""
    _, rows, length = labels.shape
    at_once = max(1, _VOXELS_AT_ONCE // max(1, rows * length))
    for k in range(0, len(labels), at_once):
        voxels = np.ascontiguousarray(labels[k : k + at_once]).ravel()
        begins = np.empty(voxels.shape, bool)
        np.not_equal(voxels[1:], voxels[:-1], out=begins[1:])
        begins[::length] = True
        start = np.flatnonzero(begins)
        label = voxels[start]
        run = np.flatnonzero(label)
        stop = np.append(start, len(voxels))[run + 1]
        row, begin = np.divmod(start[run], length)
        yield row + k * rows, begin, begin + stop - start[run], label[run]


def find_pieces(runs: Runs, touching: int) -> np.ndarray:
    """(R,) the piece of each run: the index of the piece's first run. Runs of one label that touch are of one piece."""
    piece = np.arange(len(runs))
    first, second = (np.concatenate(part) for part in zip(*_touching_pairs(runs, touching), strict=True))
    while len(first):
        np.minimum.at(piece, np.maximum(first, second), np.minimum(first, second))
        while not np.array_equal(further := piece[piece], piece):
            piece = further
        first, second = piece[first], piece[second]
        apart = first != second
        first, second = first[apart], second[apart]
    return piece


def _touching_pairs(runs: Runs, touching: int):
    """Indices of runs of one label that touch, (P,) and (P,), for each direction of a neighbouring row."""
    width = int(runs.stop.max(initial=0)) + 2  # a gap, so that the end of a row does not touch the next one's start
    begin, end = runs.row * width + runs.start + 1, runs.row * width + runs.stop
    in_slice = runs.row % runs.rows
    for row, in_next in [(1, 0), *((j, 1) for j in range(-touching, touching + 1))]:
        there = (in_slice + row >= 0) & (in_slice + row < runs.rows)
        ahead = (row + in_next * runs.rows) * width
        low = np.searchsorted(end, begin + ahead - touching)
        high = np.searchsorted(begin, end + ahead + touching, side="right")
        count = np.where(there, np.maximum(high - low, 0), 0)
        first = np.repeat(np.arange(len(runs)), count)
        second = np.arange(len(first)) + np.repeat(low - np.cumsum(count) + count, count)
        same = runs.label[first] == runs.label[second]
        yield first[same], second[same]


def find_gaps(runs: Runs) -> tuple[Runs, np.ndarray]:
    """What is not in the runs, inside of the box around them.

    :return: the runs of it, with the label 0, and (R,) which of them touch the box's border: (in k, in j, in i).
    """
    k, j = np.divmod(runs.row, runs.rows)
    (k0, k1), (j0, j1) = (k.min(), k.max()), (j.min(), j.max())
    i0, i1 = runs.start.min(), runs.stop.max()
    box_rows = (np.arange(k0, k1 + 1)[:, None] * runs.rows + np.arange(j0, j1 + 1)).ravel()
    # Each gap lies before a run or at the end of a row; those of no voxels are dropped.
    continued = np.append(False, runs.row[1:] == runs.row[:-1])
    last = np.searchsorted(runs.row, box_rows, side="right") - 1
    tail = np.where((last >= 0) & (runs.row[last] == box_rows), runs.stop[last], i0)
    row = np.append(runs.row, box_rows)
    start = np.append(np.where(continued, np.roll(runs.stop, 1), i0), tail)
    stop = np.append(runs.start, np.full(len(box_rows), i1))
    order = np.lexsort((start, row))
    order = order[stop[order] > start[order]]
    gaps = Runs(row[order], start[order], stop[order], np.zeros(len(order), runs.label.dtype), runs.rows)
    k, j = np.divmod(gaps.row, runs.rows)
    ends = [(k == k0) | (k == k1), (j == j0) | (j == j1), (gaps.start == i0) | (gaps.stop == i1)]
    return gaps, np.stack(ends)
