"""The corners of the outlines of patches: points where an outline turns, found in strips of a map."""

import numpy as np
from numpy.typing import NDArray

from agriseg.analysis.components import Components, Ints, RunBlock, run_blocks
from agriseg.errors import DataError
from agriseg.legend import NODATA
from agriseg.maps.reader import MaskSource

MAX_CORNERS = 20_000_000
"""Of all outlines together: about 1.5 GiB while they are made."""
DOWN, DEPARTS = 2, 1
"""Bits of a corner's code, see `_corner_table`."""
_RIGHT = 4


def outline_corners(source: MaskSource, patches: Components, rows: int) -> list[Ints]:
    """The corners of all outlines, an array for each block of rows; see `_corners`.

    Raises:
        DataError: more than `MAX_CORNERS`.
    """
    polygon_of = np.append(patches.of_piece, -1)
    corners: list[Ints] = [np.empty(0, np.int64)]
    count = 0
    for part in run_blocks(source, rows):
        corners.append(_corners(part, polygon_of[part.piece], source.height))
        count += len(corners[-1])
        if count > MAX_CORNERS:
            raise DataError(
                f"more than {MAX_CORNERS:,} corners of polygons in the rows to {part.strip.rows.stop}; smooth the mask "
                "or drop small patches (--smooth, --mmu)"
            )
    return corners


def _corner_table() -> NDArray[np.int64]:
    """Codes of up to two corners, -1 for none, by which of the four pixels around a point a polygon has.

    Bits and quadrants count north-west, north-east, south-west, south-east from 0. A corner's code says whether its
    horizontal side goes right and its vertical one down, and whether who keeps the polygon on the right leaves it
    horizontally.
    """
    table = np.full((16, 2), -1)
    for quadrant in range(4):
        right, down = quadrant & 1, quadrant >> 1
        sides = _RIGHT * right + DOWN * down
        table[1 << quadrant, 0] = sides + DEPARTS * (right == down)
        table[15 - (1 << quadrant), 0] = sides + DEPARTS * (right != down)
    for diagonal, gaps in ((0b1001, (0b1101, 0b1011)), (0b0110, (0b1110, 0b0111))):
        table[diagonal] = [table[gap, 0] for gap in gaps]
    return table


_CORNERS = _corner_table()


def _corners(part: RunBlock, polygon: Ints, height: int) -> Ints:
    """Corners on the lines above a part's rows, and below the last row of a map of some height.

    (C,) ((polygon * (height + 1) + row) * (width + 1) + col) * 8 + code; `polygon` (N,) is that of each run, -1 for
    none.
    """
    last = part.strip.rows.stop == height
    mask = np.pad(part.mask, ((0, int(last)), (1, 1)), constant_values=NODATA)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    turns = np.flatnonzero((across[1:] | across[:-1]) & (down[:, 1:] | down[:, :-1]))
    row, col = np.divmod(turns, part.width + 1)
    row += part.strip.row_off
    around = np.stack([_at(part, polygon, row - up, col - left, height) for up in (1, 0) for left in (1, 0)])
    corners = []
    for quadrant, own in enumerate(around):
        same = around == own
        new = (own >= 0) & ~same[:quadrant].any(0)
        codes = _CORNERS[np.packbits(same, axis=0, bitorder="little")[0]]
        base = ((own * (height + 1) + row) * (part.width + 1) + col) * 8
        corners += [(base + code)[new & (code >= 0)] for code in codes.T]
    return np.concatenate(corners)


def _at(part: RunBlock, polygon: Ints, row: Ints, col: Ints, height: int) -> Ints:
    """The polygon at pixels of a part or beside the map, -1 for none."""
    run = np.searchsorted(part.start, row * part.width + col, "right") - 1
    return np.where((col >= 0) & (col < part.width) & (row < height), polygon[run], -1)


def corner_span(source: MaskSource) -> int:
    """What a corner's number grows by from one polygon to the next."""
    return (source.height + 1) * (source.width + 1) * 8
