"""The C library's heap, where it is glibc's: what is freed shall not add up.

Each thread has a heap of its own and keeps what it frees; between large short-lived arrays the holes add up, and
the process grows with every band. Elsewhere these calls do nothing.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # the names in malloc.h begin with M_
_LARGEST = 2**30  # bytes: no array of a tile is larger
_NEVER = 2**31 - 1

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def set_up_heap() -> None:
    """Set the heap of this process up for a run.

    Threads that start from now on share the heaps there are: fewer holes, at no cost that can be measured. Freed
    arrays stay in the heap until `release_heap`: the features of a network come and go many times per tile, and a page
    that the system gives anew is cleared first. That took up to two fifths of the time of a small network.
    """
    share_heap()
    if mallopt := getattr(_libc, "mallopt", None):
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _NEVER)


def share_heap() -> None:
    """Let threads that start from now on share the heaps there are, and give large arrays back at once."""
    if mallopt := getattr(_libc, "mallopt", None):
        mallopt(_ARENA_MAX, 1)


def release_heap() -> None:
    """Give freed memory back to the system; takes some milliseconds."""
    if malloc_trim := getattr(_libc, "malloc_trim", None):
        malloc_trim(0)
