"""What is said of segments that overlap where a voxel can have one label only."""

from collections.abc import Mapping

FIRST, LAST, REFUSE = "first", "last", "refuse"
CHOICES = (FIRST, LAST, REFUSE)


def overlap_notes(name: str, lost: Mapping[str, Mapping[str, int]], sizes: Mapping[str, int] = {}) -> tuple[str, ...]:
    """Sentences about voxels that a segment has lost to others.

    :param name: the file or segmentation.
    :param lost: numbers of voxels by the segment that lost and the one that won.
    :param sizes: voxels of each segment, to say where nothing of it is left.
    """
    notes = []
    for loser, counts in lost.items():
        winners = ", ".join(f"'{winner}' ({count})" for winner, count in counts.items())
        total = sum(counts.values())
        vanished = f" Nothing is left of '{loser}'." if total == sizes.get(loser) else ""
        notes.append(f"In {name} segments overlap: {total} voxels of '{loser}' count as {winners}.{vanished}")
    return tuple(notes)
