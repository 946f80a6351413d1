"""What all sections of the benchmark share: where the data are, on what and how often to measure, how to report."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch


@dataclass(frozen=True)
class Context:
    """Settings of a run.

    :param data: folder with the data sets ``acdc`` and ``ct_sample``; None: made-up volumes.
    :param rounds: of everything that is interleaved.
    :param only: regular expression; rows of networks whose words it is not found in are left out.
    :param quick: no warm-up, few slices: to see that all works, not to measure.
    :param say: is told what is being done; ``progress``: how much of it (done, in all).
    """

    data: Path | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rounds: int = 5
    only: str = ""
    quick: bool = False
    say: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None

    @property
    def threads(self) -> int:
        """Threads of the processor in use."""
        return torch.get_num_threads()
