"""The C library's heap, where it is glibc's: what is freed shall not add up.

Each thread has a heap of its own and keeps what it frees; between large short-lived arrays the holes add up, and
the process grows with every band. Elsewhere these calls do nothing.
"""

import ctypes
import sys

_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def share_heap() -> None:
    """Threads that start from now on share the heaps there are: fewer holes, at no cost that can be measured."""
    if mallopt := getattr(_libc, "mallopt", None):
        mallopt(_ARENA_MAX, 1)


def release_heap() -> None:
    """Give freed memory back to the system; takes some milliseconds."""
    if malloc_trim := getattr(_libc, "malloc_trim", None):
        malloc_trim(0)
