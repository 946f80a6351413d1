"""What processes hold in memory, as Linux tells it; elsewhere nothing of it is known."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

KNOWN = Path("/proc/self/clear_refs").exists()


def held(process: int | str = "self") -> int | None:
    """Bytes that a process holds now; None where that is not told."""
    return _status(process, "VmRSS")


def peak(process: int | str = "self") -> int | None:
    """The most bytes that it has held since its start or ``forget_peak``."""
    return _status(process, "VmHWM")


def forget_peak(process: int | str = "self") -> None:
    """Let the peak be what is held now."""
    if KNOWN:
        Path(f"/proc/{process}/clear_refs").write_text("5", encoding="utf-8")


def peak_of(call: Callable[[], object]) -> int | None:
    """Bytes that a call of this process needs at most, beyond what was held before it."""
    gc.collect()
    if KNOWN:
        # What was freed and not given back would be used again, and the call would seem to need less.
        ctypes.CDLL(None).malloc_trim(0)
    forget_peak()
    before = held()
    call()
    return None if before is None else max(0, peak() - before)


def _status(process: int | str, name: str) -> int | None:
    if not KNOWN:
        return None
    for line in Path(f"/proc/{process}/status").read_text("utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None
