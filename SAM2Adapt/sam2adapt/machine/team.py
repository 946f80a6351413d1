"""The processes that ``torchrun`` started together."""

import json
import os
import pickle
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch.distributed import PrefixStore, Store, rendezvous

from .device import choose_device

_SHARED = "shared"
_PAUSE = 0.02  # seconds between two looks into a store
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
        store = self.store()
        if self.rank == 0:
            made = make()
            store.set(_SHARED, pickle.dumps(made))
            return made
        return pickle.loads(store.get(_SHARED))

    def store(self) -> Store:
        """A store that the processes of this start share, and none of a former start did; they wait for each other.

        ``torchrun`` keeps its store when it starts processes again. They would find the addresses of the dead in it and
        wait for them for ever. So each writes a word of its own; the first one lists the words that it finds, again and
        again, until every process has seen its own in the list, and the first one's word names the new store.
        """
        whole, _, _ = next(rendezvous("env://", timeout=_LONGEST))
        whole.set_timeout(_LONGEST)
        own = uuid.uuid4().hex
        whole.set(f"present {self.rank}", own)
        while True:
            if self.rank == 0:
                words = [whole.get(f"present {rank}").decode() for rank in range(self.size)]
                whole.set("words", json.dumps(words))
            else:
                words = json.loads(whole.get("words"))
            if words[self.rank : self.rank + 1] == [own]:
                name = words[0]
                whole.set(f"{name} {self.rank}", "")
                if self.rank or whole.check([f"{name} {rank}" for rank in range(self.size)]):
                    return PrefixStore(name, whole)
            time.sleep(_PAUSE)

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
