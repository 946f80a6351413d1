"""Label volumes as runs: stretches of voxels of one label within a row.

A volume has about as many runs as its structures have surface voxels. To find pieces and holes takes a few bytes for
each run; arrays of piece numbers would take four or eight bytes for each voxel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FACES, CORNERS = 0, 1  # how voxels must touch to belong to one piece

_VOXELS_AT_ONCE = 1 << 22  # that are read together; only their runs are kept


@dataclass(frozen=True)
class Runs:
    """Runs, in the order of their voxels in the volume.

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
        """Treat all labels as one: return runs of label 1, and (R,) the index of the one that contains each run."""
        begins = np.ones(len(self), bool)
        begins[1:] = (self.row[1:] != self.row[:-1]) | (self.start[1:] != self.stop[:-1])
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(self))[: len(first)] - 1
        label = np.ones(len(first), self.label.dtype)
        return Runs(self.row[first], self.start[first], self.stop[last], label, self.rows), begins.cumsum() - 1

    def paint(self, labels: np.ndarray, value: int, over: int | None = None) -> None:
        """Set the voxels of all runs in an array (K, J, I) to a value, in place.

        :param over: change only voxels of this value.
        """
        slices, rows = np.divmod(self.row, self.rows)
        for k, j, start, stop in zip(*(n.tolist() for n in (slices, rows, self.start, self.stop)), strict=True):
            voxels = labels[k, j, start:stop]
            voxels[... if over is None else voxels == over] = value


def find_runs(labels: np.ndarray) -> Runs:
    """Runs of all labels except 0 in an array (K, J, I) of any memory layout."""
    row, start, stop, label = (np.concatenate(part) for part in zip(*_slabs(labels), strict=True))
    return Runs(row, start, stop, label, labels.shape[1])


def count_labels(labels: np.ndarray) -> np.ndarray:
    """Count the voxels of each label (256,) or more in an array (K, J, I); numpy.bincount would copy it to 64 bits."""
    counts = np.zeros(256, np.int64)
    for _, start, stop, label in _slabs(labels):
        more = np.bincount(label, stop - start, minlength=len(counts)).astype(np.int64)
        more[: len(counts)] += counts
        counts = more
    counts[0] = labels.size - counts.sum()
    return counts


def _slabs(labels: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield row, start, stop and label of all runs, a few slices at a time."""
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
    """Join touching runs of one label into pieces; return (R,) the index of the first run of each run's piece.

    Each round lets the later piece of every touching pair point to the earlier one, then follows all pointers to their
    end. A piece can point to one other piece only, so pairs that are still apart go into the next round.
    """
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


def _touching_pairs(runs: Runs, touching: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the indices (P,) and (P,) of touching runs of one label, for one kind of neighbouring row at a time.

    Lay all rows end to end on one line, each ``width`` positions long, so that there are gaps between them. Shift a run
    by ``width``: the runs that it now overlaps are those that touch it in the next row. Since runs are sorted and do
    not overlap each other, these have consecutive indices: two binary searches find the first and the last.

    Two rows of five voxels in one slice, ``#`` of label 1, and the positions of their runs (``width`` is 6)::

        row 0:  # # . # .        run 0: begin 1, end 2     run 1: begin 4, end 4
        row 1:  . . # # .        run 2: begin 9, end 10

    Run 0, shifted to the next row, is 7 to 8. It overlaps no run, so by ``FACES`` it touches none; with one more
    position on either side, 6 to 9, it touches run 2 by ``CORNERS``. Run 1, shifted to 10, touches run 2 by both. The
    results are ``[1], [2]`` for ``FACES`` and ``[0, 1], [2, 2]`` for ``CORNERS``.
    """
    width = (
        int(runs.stop.max(initial=0)) + 2
    )  # with a gap: the last voxel of a row does not touch the first of the next
    begin, end = runs.row * width + runs.start + 1, runs.row * width + runs.stop  # positions of first and last voxel
    row_in_slice = runs.row % runs.rows
    # Only rows further on in the volume: the next row of the slice, and the nearest rows of the next slice.
    next_row, next_slice = [(1, 0)], [(rows, 1) for rows in range(-touching, touching + 1)]
    for rows, slices in next_row + next_slice:
        has_neighbour = (row_in_slice + rows >= 0) & (row_in_slice + rows < runs.rows)
        distance = (rows + slices * runs.rows) * width
        low = np.searchsorted(end, begin + distance - touching)  # first run that ends late enough
        high = np.searchsorted(begin, end + distance + touching, side="right")  # first run that begins too late
        count = np.where(has_neighbour, np.maximum(high - low, 0), 0)
        # The pairs of run r are (r, low[r]), (r, low[r] + 1), …, (r, low[r] + count[r] - 1).
        first = np.repeat(np.arange(len(runs)), count)
        pairs_before = np.cumsum(count) - count
        second = np.arange(len(first)) + np.repeat(low - pairs_before, count)
        same = runs.label[first] == runs.label[second]
        yield first[same], second[same]


def find_gaps(runs: Runs) -> tuple[Runs, np.ndarray]:
    """Find the gaps between the runs in the smallest box that contains them.

    A slice of two rows of six voxels; the box is rows 0 to 1 and voxels 1 to 4::

        row 0:  . . # # . .      runs: 2 to 4           gaps: 1 to 2, touching j and i;  4 to 5, touching j and i
        row 1:  . # . . # .      runs: 1 to 2, 4 to 5   gaps: 2 to 4, touching j

    Both touch k as well, since the box is one slice thick.

    :return: the gaps as runs of label 0, and (3, R) whether each gap touches the border of the box: in k, in j, in i.
    """
    k, j = np.divmod(runs.row, runs.rows)
    (k0, k1), (j0, j1) = (k.min(), k.max()), (j.min(), j.max())
    i0, i1 = runs.start.min(), runs.stop.max()
    # One gap before each run: it starts at the end of the previous run of the row, or at the border of the box.
    is_in_row_of_last = np.append(False, runs.row[1:] == runs.row[:-1])
    starts_before = np.where(is_in_row_of_last, np.roll(runs.stop, 1), i0)
    # One gap at the end of each row of the box: it starts at the end of the last run; without runs, it is the whole
    # row.
    box_rows = (np.arange(k0, k1 + 1)[:, None] * runs.rows + np.arange(j0, j1 + 1)).ravel()
    last = np.searchsorted(runs.row, box_rows, side="right") - 1
    has_runs = (last >= 0) & (runs.row[last] == box_rows)
    starts_after = np.where(has_runs, runs.stop[last], i0)
    row = np.append(runs.row, box_rows)
    start = np.append(starts_before, starts_after)
    stop = np.append(runs.start, np.full(len(box_rows), i1))
    order = np.lexsort((start, row))
    order = order[stop[order] > start[order]]  # most of these gaps are empty
    gaps = Runs(row[order], start[order], stop[order], np.zeros(len(order), runs.label.dtype), runs.rows)
    k, j = np.divmod(gaps.row, runs.rows)
    touches = [(k == k0) | (k == k1), (j == j0) | (j == j1), (gaps.start == i0) | (gaps.stop == i1)]
    return gaps, np.stack(touches)
