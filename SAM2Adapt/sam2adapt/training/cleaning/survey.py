"""Which structures are in one piece wherever they were drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...imaging.cleaning import largest_shares
from ...imaging.terminology import Structure, is_organ
from ...shared.labels.annotation import IGNORE

TOGETHER, EACH = "largest_together", "largest_component"  # the steps' names in a card

_FEWEST = 3  # volumes that show a structure; in fewer, several pieces may just not have been met
_LEAST_SHARE = 0.99  # of a structure, in its largest piece: a stray dab of the brush is no second piece


@dataclass
class PieceSurvey:
    """How the structures of the training volumes hang together.

    Only structures of the anatomy are judged: of lesions, the next patient may have more.

    :param structures: those of the model.
    :ivar shares: for label values taken as one, the share of their voxels in the largest piece, in each volume.
    """

    structures: Sequence[Structure] = ()
    shares: dict[tuple[int, ...], list[float]] = field(default_factory=dict)

    def add(self, values: np.ndarray) -> None:
        """Take in the label values (K, J, I) of a volume; pictures, and volumes annotated in part, tell nothing."""
        if min(values.shape) == 1 or (values == IGNORE).any():
            return
        organs = tuple(sorted(structure.id for structure in self.structures if is_organ(structure)))
        groups = [(number,) for number in organs] + [organs] * (len(organs) > 1)
        for ids, share in zip(groups, largest_shares(values, groups), strict=True):
            if share is not None:
                self.shares.setdefault(ids, []).append(share)

    def steps(self) -> dict[str, list[int]]:
        """Steps of a card's ``postprocessing`` that would change none of at least three volumes."""
        known = [ids for ids, shares in self.shares.items() if len(shares) >= _FEWEST and not self.contradict(ids)]
        together = next((list(ids) for ids in known if len(ids) > 1), [])
        return {TOGETHER: together, EACH: sorted(ids[0] for ids in known if len(ids) == 1)}

    def contradict(self, ids: Sequence[int]) -> bool:
        """Whether structures, taken as one, are in several pieces in any volume."""
        return any(share < _LEAST_SHARE for share in self.shares.get(tuple(sorted(ids)), []))
