"""Hatching patterns that distinguish the classes of a map without colours."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agriseg.legend import LegendClass

TILE = 8
"""Side of a pattern (px), which repeats."""
_BRIGHT = 0.4  # luminance above which the lines are darker than the ground, below it lighter
_MIXED = 0.5  # share of black or white in the lines

Grid = NDArray[np.intp]
_KINDS: tuple[Callable[[Grid, Grid], NDArray[np.bool_]], ...] = (
    lambda row, col: np.zeros(np.broadcast_shapes(row.shape, col.shape), bool),  # plain
    lambda row, col: (row + col) % TILE < 2,  # rising
    lambda row, col: (row - col) % TILE < 2,  # falling
    lambda row, col: (row % 4 < 2) & (col % 4 < 2),  # dots
    lambda row, col: (row % TILE < 2) | np.zeros_like(col, bool),  # lying
    lambda row, col: (col % TILE < 2) | np.zeros_like(row, bool),  # standing
    lambda row, col: (row % TILE < 1) | (col % TILE < 1),  # grid
    lambda row, col: ((row + col) % TILE < 1) | ((row - col) % TILE < 1),  # crossed
)


def pattern(entry: LegendClass, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width), True on the lines of a class's pattern; every eighth class has the same."""
    return _KINDS[entry.id % len(_KINDS)](np.arange(height)[:, None], np.arange(width)[None])


def line_colour(entry: LegendClass) -> tuple[int, int, int]:
    """Colour of the lines: the class's own, darker if it is bright, lighter if it is dark."""
    red, green, blue = (channel / 255 for channel in entry.rgb)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # of ITU-R BT.709; not linearised, as it only sorts
    end = 0 if luminance > _BRIGHT else 255
    mixed = [round(channel * (1 - _MIXED) + end * _MIXED) for channel in entry.rgb]
    return mixed[0], mixed[1], mixed[2]
