"""What to look at first in a batch: studies whose result is missing, empty or unlike the others."""

import statistics
from collections.abc import Sequence

FAILED, OPEN, NOTHING, UNREAD = "failed", "not done yet", "nothing found", "could not be shown"
_FEWEST = 5  # studies that have a structure, before one can be unlike the others
_FAR = 3.5  # deviations from the median; 1.4826 times the median deviation is the standard deviation of normal values
_NORMAL = 1.4826


def flags_of(rows: Sequence[dict]) -> list[list[str]]:
    """For each row of a manifest, what is remarkable about it, in words.

    A structure that most studies have is "absent" in the others. A volume is "small" or "large" if it lies more than
    3.5 robust standard deviations from the median of the batch, or has less than half or more than twice its volume
    where all others are equal.
    """
    flags = [_of_status(row) for row in rows]
    names = list(dict.fromkeys(s["name"] for row in rows for s in row["structures"]))
    done = [n for n, row in enumerate(rows) if row["status"] == "done"]
    for name in names:
        voxels = {n: _size(rows[n], name) for n in done}
        with_it = {n: size for n, size in voxels.items() if size}
        if 2 * len(with_it) > len(done):
            for n in done:
                if not voxels[n] and NOTHING not in flags[n]:
                    flags[n].append(f"{name}: absent")
        for n, word in _unlike(with_it).items():
            flags[n].append(f"{name}: {word}")
    return flags


def _of_status(row: dict) -> list[str]:
    if row["status"] != "done":
        return [FAILED if row["status"] == "failed" else OPEN]
    return [] if any(s["voxels"] for s in row["structures"]) else [NOTHING]


def _size(row: dict, name: str) -> float:
    """Volume in mL, or number of pixels of a picture; 0 without the structure."""
    found = [s for s in row["structures"] if s["name"] == name]
    return (found[0]["voxels"] if found[0]["ml"] is None else found[0]["ml"]) if found else 0


def _unlike(sizes: dict[int, float]) -> dict[int, str]:
    if len(sizes) < _FEWEST:
        return {}
    middle = statistics.median(sizes.values())
    spread = _NORMAL * statistics.median(abs(size - middle) for size in sizes.values())
    limit = _FAR * spread or middle / 2
    return {
        n: f"{'small' if size < middle else 'large'} ({size / middle:.2g} times the median)"
        for n, size in sizes.items()
        if abs(size - middle) > limit
    }
