"""The processes that ``torchrun`` started together."""

import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch.distributed import PrefixStore, Store, rendezvous

from .device import choose_device

_SHARED = "shared"
_PAUSE = 0.02  # seconds between two looks into a store
_LONGEST = timedelta(hours=12)  # that others wait while rank 0 reads the headers of an archive

Json = TypeVar("Json")  # a value that JSON can hold


@dataclass(frozen=True)
class Team:
    """This process among those that ``torchrun`` started together; without torchrun, it is alone."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    restarts: int = 0

    @classmethod
    def from_environment(cls) -> "Team":
        """Read the environment variables of ``torchrun``."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
        return cls(*(int(os.environ.get(name, default)) for name, default in zip(names, "01010", strict=True)))

    def share(self, make: Callable[[], Json]) -> Json:
        """Call ``make`` on rank 0 and return its result, a JSON value, on every rank.

        The value travels as JSON, so that no process can make another one run code.
        """
        if self.world_size == 1:
            return make()
        store = self.store()
        if self.rank == 0:
            made = make()
            store.set(_SHARED, json.dumps(made))
            return made
        return json.loads(store.get(_SHARED))

    def store(self) -> Store:
        """Wait for the other processes of this start and return a store that only they share.

        ``torchrun`` keeps one store across restarts. After a restart, it still holds the addresses of dead processes,
        and a process that reads one of them waits for ever. So the processes of a start first agree on a prefix that
        no earlier start has used:

        1. Each rank writes a new random token to ``present <rank>``.
        2. Rank 0 reads the tokens of all ranks and publishes them as the list ``tokens``. It repeats this, because some
           may still be tokens of an earlier start.
        3. A rank that sees its token in the list knows that rank 0 belongs to the same start. It confirms with the key
           ``<token of rank 0> <rank>``; the token of rank 0 is the prefix.
        4. Rank 0 stops when all ranks have confirmed.

        Example: two processes after a restart, rank 1 is late; a and b are tokens of the first start::

            rank 0 writes "c"                     present 0 = c, present 1 = b     rank 0 publishes [c, b]
            rank 1 writes "d"                     present 0 = c, present 1 = d
            rank 1 reads [c, b] without its "d", so it looks again
            rank 0 reads again                                                     rank 0 publishes [c, d]
            rank 1 confirms "c 1"; rank 0 sees "c 0" and "c 1", and both use the prefix "c"
        """
        whole, _, _ = next(rendezvous("env://", timeout=_LONGEST))
        whole.set_timeout(_LONGEST)
        ranks, token = range(self.world_size), uuid.uuid4().hex
        whole.set(f"present {self.rank}", token)
        while True:
            if self.rank == 0:
                tokens = [whole.get(f"present {rank}").decode() for rank in ranks]
                whole.set("tokens", json.dumps(tokens))
            else:
                tokens = json.loads(whole.get("tokens"))
            # An earlier start may have had fewer processes, so that the list ends before this rank.
            if self.rank < len(tokens) and tokens[self.rank] == token:
                name = tokens[0]
                whole.set(f"{name} {self.rank}", "")
                if self.rank != 0 or whole.check([f"{name} {rank}" for rank in ranks]):
                    return PrefixStore(name, whole)
            time.sleep(_PAUSE)

    def device(self, name: str) -> tuple[torch.device, str]:
        """Choose the GPU of this process, or its share of the CPU cores.

        :raises DeviceError: the device does not exist.
        """
        if self.world_size > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
            name = f"cuda:{self.local_rank % torch.cuda.device_count()}"
        device, reason = choose_device(name)
        if device.type == "cpu" and self.local_world_size > 1:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            torch.set_num_threads(max(1, cores // self.local_world_size))
        return device, reason
