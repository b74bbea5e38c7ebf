"""Exact quantiles of numbers that do not fit into memory: two looks at all of them, and no sorting.

A float32 is 32 bits. Turned so that they sort as whole numbers, their upper half says in which of 65,536 bins a
quantile lies; the lower halves of the numbers in that bin say which of them it is.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_BINS = 2**16
_SIGN = np.uint32(2**31)

Floats = NDArray[np.float32]


def quantiles(parts: Callable[[], Iterable[Floats]], shares: Sequence[float]) -> tuple[int, list[float]]:
    """The least numbers that given shares of all numbers do not exceed; numpy calls it `inverted_cdf`.

    Args:
        parts: gives the numbers in float32 arrays of any shape, the same at each call; NaN are left out.
        shares: 0 to 1; 0 is the smallest number, 1 the largest.

    Returns:
        How many numbers there are, and one of them per share; none without numbers.
    """
    upper = np.zeros(_BINS, np.int64)
    for part in parts():
        upper += np.bincount(_sortable(part) >> 16, minlength=_BINS)
    count, below = int(upper.sum()), np.cumsum(upper) - upper
    if not count:
        return 0, []
    ranks = np.array([max(0, math.ceil(share * count) - 1) for share in shares])
    bins = np.searchsorted(below + upper, ranks, side="right")
    lower = {key: np.zeros(_BINS, np.int64) for key in bins.tolist()}
    for part in parts():
        keys = _sortable(part)
        for key, histogram in lower.items():
            histogram += np.bincount(keys[keys >> 16 == key] & (_BINS - 1), minlength=_BINS)
    return count, [
        _number(key, int(np.searchsorted(np.cumsum(lower[key]), rank - below[key], side="right")))
        for key, rank in zip(bins.tolist(), ranks.tolist(), strict=True)
    ]


def _sortable(part: Floats) -> NDArray[np.uint32]:
    """Whole numbers in the order of a part's numbers, without its NaN."""
    bits = (part[~np.isnan(part)] + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _number(upper: int, lower: int) -> float:
    """The number of a sortable one."""
    key = np.array([upper * _BINS + lower], np.uint32)
    return float(np.where(key & _SIGN, key ^ _SIGN, ~key).view(np.float32)[0])
