"""Networks in a type of arithmetic that is chosen, and what devices hold in memory."""

import copy
import gc
from collections.abc import Callable, Iterator, Sequence

import torch
from sam2adapt.machine.device import is_out_of_memory, release_memory
from speed import memory, peers
from speed.candidates import Candidates, Row, build_row
from speed.context import Context
from speed.models import METHOD
from speed.rounds import Candidate, interleaved
from torch import nn

BASES = ("nano", "tiny", "base_plus")
OTHERS = ("SAM2ImagePredictor", "nnU-Net 2-D")
BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SIDES, _QUICK_SIDES, _QUICK_BATCHES = (256, 512), (64, 96), (1, 2)
_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TypedRow(Row):
    """A row in its own arithmetic, not in the one that the engine chooses for the device."""

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which it runs."""
        return autocast_to(self.arithmetic, device)


def autocast_to(arithmetic: str, device: torch.device) -> torch.autocast:
    """Context in which matrix products run in ``fp32``, ``bf16`` or ``fp16``."""
    dtype = _TYPES[arithmetic]
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def arithmetics(device: torch.device) -> list[str]:
    """Those that the device has; of a processor fp16 is left out, which the engine never uses there."""
    if device.type != "cuda":
        return ["fp32", "bf16"]
    emulated = not torch.cuda.is_bf16_supported(including_emulation=False)
    return ["fp32", "fp16"] if emulated else ["fp32", "bf16", "fp16"]


def sides(context: Context) -> tuple[int, ...]:
    """Of the square slices, in pixels."""
    return _QUICK_SIDES if context.quick else _SIDES


def rows(context: Context) -> Iterator[TypedRow]:
    """Our exported networks and those of others, slice by slice."""
    for side in sides(context):
        for arithmetic in arithmetics(context.device):
            yield from (TypedRow(base, side, arithmetic, METHOD, "exported") for base in BASES)
            for peer in (peer for peer in peers.PEERS if peer.name in OTHERS):
                if peer.batched or side == sides(context)[0] or not context.quick:  # what is slow only once
                    yield TypedRow(peer.name, side, arithmetic)


class TypedCandidates(Candidates):
    """Networks that are made once on the processor and copied to the device for each arithmetic.

    One network for all would prepare its form anew at every change of the arithmetic.
    """

    def __init__(self, context: Context):
        super().__init__(context)
        self._quick, self._device, self._plain = context.quick, context.device, {}

    def batches(self, side: int) -> list[int]:
        """Batches that are tried, whatever memory they need."""
        return list(_QUICK_BATCHES if self._quick else BATCHES)

    def network(self, row: Row) -> nn.Module:
        """The row's network on the device."""
        key = (row.network, row.side if row.peer else 0)
        if key not in self._plain:
            self._plain[key] = build_row(row)
        if (*key, row.arithmetic) not in self._networks:
            self._networks[*key, row.arithmetic] = copy.deepcopy(self._plain[key]).to(self._device)
        return self._networks[*key, row.arithmetic]

    def forget(self) -> None:
        """Free all that is on the device but for the slices."""
        self._networks.clear()
        free()


def in_rounds(
    candidates: Sequence[Candidate], rounds: int, left: Callable[[], float], warm: bool
) -> Iterator[dict[str, list[float]]]:
    """Let candidates take turns, and yield all seconds a unit by row after each round, while there is time.

    The next round begins only if it will end in time, as far as the longest one tells.

    :param warm: as ``interleaved`` takes it.
    """
    times: dict[str, list[float]] = {candidate.row: [] for candidate in candidates}
    longest = 0.0
    for number in range(rounds if candidates else 0):
        before = left()
        if number and before < longest:
            return
        for row, seconds in interleaved(candidates, 1, warm=warm, seed=number).items():
            times[row] += seconds
        longest = max(longest, before - left())
        yield times


def peak(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes while a call runs: all that PyTorch holds on a GPU at most; of a processor what the call adds.

    None where the system does not tell.
    """
    if device.type != "cuda":
        return memory.peak_of(call)
    free()
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def free() -> None:
    """Return to the system what is not in use, so that the next one finds all memory."""
    gc.collect()
    release_memory()


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, also where a library of NVIDIA's says so in its own way."""
    return is_out_of_memory(error) or "ALLOC_FAILED" in str(error) or "CUDA error: out of memory" in str(error)


def usable(device: torch.device) -> bool:
    """Whether this process can still compute on the device; after some errors no call works on a GPU any more."""
    try:
        compute(device)
    except (RuntimeError, AssertionError):
        return False
    return True


def compute(device: torch.device) -> None:
    """Compute a small product."""
    ones = torch.ones(8, 8, device=device)
    ones.mm(ones).sum().item()


def in_words(error: BaseException) -> str:
    """An error as one sentence."""
    text = " ".join(str(error).split()).replace("|", "/")[:400] or "no reason was given"
    sentence = text if hasattr(error, "remedy") else f"{type(error).__name__}: {text}"
    return sentence if sentence.endswith(".") else f"{sentence}."
