"""Messages about segments that overlap, where a voxel can have only one label."""

from collections.abc import Mapping

FIRST, LAST, REFUSE = "first", "last", "refuse"
CHOICES = (FIRST, LAST, REFUSE)


def overlap_notes(name: str, lost: Mapping[str, Mapping[str, int]], sizes: Mapping[str, int] = {}) -> tuple[str, ...]:
    """Sentences about the voxels that segments lose to others.

    :param name: the file or segmentation.
    :param lost: for each segment that loses voxels, their number by the segment that gets them.
    :param sizes: voxels of each segment, to say if nothing of it is left.
    """
    notes = []
    for loser, counts in lost.items():
        winners = ", ".join(f"'{winner}' ({count})" for winner, count in counts.items())
        total = sum(counts.values())
        vanished = f" Nothing is left of '{loser}'." if total == sizes.get(loser) else ""
        notes.append(f"In {name} segments overlap: {total} voxels of '{loser}' count as {winners}.{vanished}")
    return tuple(notes)
