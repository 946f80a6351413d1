"""How the C library treats memory that was freed."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT = 256 << 20
_LARGEST = 32 << 20  # glibc takes no more


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB of freed memory for the network's next layer; do nothing with other C libraries.

    By default glibc returns it to the system at once, which then has to clear every page again.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
