"""Tell the C library to keep freed memory, and when to return it."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT = 256 << 20
_LARGEST = 32 << 20  # glibc takes no more


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB of freed memory for the next layer of the network; other C libraries stay as they
    are.

    By default, glibc returns it to the system at once, which must then clear every page again.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)


def return_freed_memory() -> None:
    """Give the system what glibc keeps: to be called between stages whose arrays have other sizes.

    Each thread keeps memory of its own, which the others cannot use.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
