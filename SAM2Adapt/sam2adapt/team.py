"""The processes that ``torchrun`` started together."""

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch.distributed import rendezvous

from .device import choose_device

_SHARED = "shared"
_LONGEST = timedelta(hours=12)  # for which other processes wait while the first reads the headers of an archive


@dataclass(frozen=True)
class Team:
    """This process among those that ``torchrun`` started; alone without it."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    restarts: int = 0

    @classmethod
    def from_environment(cls) -> "Team":
        """Read what ``torchrun`` says in the environment."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
        return cls(*(int(os.environ.get(name, default)) for name, default in zip(names, "01010", strict=True)))

    def share(self, make: Callable[[], list]) -> list:
        """What ``make`` gives in the first process, in all of them."""
        if self.size == 1:
            return make()
        # By the store alone: processes that a restart brings back do not always find each other by gloo.
        store, _, _ = next(rendezvous("env://", timeout=_LONGEST))
        if self.rank == 0:
            made = make()
            store.set(_SHARED, pickle.dumps(made))
            return made
        store.set_timeout(_LONGEST)
        return pickle.loads(store.get(_SHARED))

    def device(self, name: str) -> tuple[torch.device, str]:
        """Choose this process's own GPU, or its share of the cores.

        :raises DeviceError: the device asked for is not there.
        """
        if self.size > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            name = f"cuda:{self.local_rank % torch.cuda.device_count()}"
        device, reason = choose_device(name)
        if device.type == "cpu" and self.local_size > 1:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            torch.set_num_threads(max(1, cores // self.local_size))
        return device, reason
