"""Where tiles lie along an axis, and where one of them takes over from another; all in pixels."""

from collections.abc import Sequence
from itertools import pairwise


def clamped_starts(size: int, tile: int, step: int) -> list[int]:
    """Starts of tiles every `step` pixels; the last is moved back so that it ends with the axis."""
    if tile >= size:
        return [0]
    return [*range(0, size - tile, step), size - tile]


def middles(starts: Sequence[int], tile: int) -> tuple[int, ...]:
    """The middle of what each two neighbours share: there their weights are equal, where weights fall to the edge."""
    return tuple((start + before + tile) // 2 for before, start in pairwise(starts))


def ends(starts: Sequence[int], tile: int) -> tuple[int, ...]:
    """Where a tile begins or the one before it ends: there a mean with equal weights jumps."""
    lines = {line for before, start in pairwise(starts) for line in (start, before + tile)}
    return tuple(sorted(lines))
