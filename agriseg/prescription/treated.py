"""Which cells are treated for their spots, and how much of them is there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import UsageError
from agriseg.legend import NODATA
from agriseg.maps.reader import MaskSource
from agriseg.prescription.cells import Cells, Floats
from agriseg.prescription.spots import ROWS, Mask, SpotRule, SpotStrip, spot_strips

_FARTHEST = 3  # cells that a margin may reach: 48 neighbours are the bits of one number
_ROUNDING = 1e-9  # of an area

Bits = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Neighbours:
    """The cells around a cell that a margin can reach.

    Args:
        reach: the margin, in cells.
        offsets: rows and columns to each neighbour; its place here is the number of its bit.
    """

    reach: float
    offsets: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, margin: float, cells: Cells) -> "Neighbours":
        """Those within some metres.

        Raises:
            UsageError: the margin is longer than 3 cells.
        """
        reach = margin / cells.least_side
        far = math.ceil(reach)
        if far > _FARTHEST:
            raise UsageError(
                f"--margin {margin:g} m is more than {_FARTHEST} cells of {cells.side:g} m; "
                f"use cells of {1.01 * margin / _FARTHEST:.3g} m or more"
            )
        steps = range(-far, far + 1)
        return cls(reach, tuple((down, right) for down in steps for right in steps if (down, right) != (0, 0)))

    @property
    def no_bits(self) -> np.dtype[np.unsignedinteger]:
        """Type of a number with a bit for each."""
        return np.min_scalar_type((1 << len(self.offsets)) - 1)

    def reached(self, y: Floats, x: Floats) -> Bits:
        """(N,) bits of the neighbours within reach of places; `y` and `x` (N,) in cells."""
        y, x = y % 1, x % 1
        bits = np.zeros(len(y), self.no_bits)
        for number, (down, right) in enumerate(self.offsets):
            within = np.hypot(_gap(y, down), _gap(x, right)) <= self.reach
            bits[within] |= bits.dtype.type(1 << number)
        return bits

    def spread(self, some: Mask, bits: Bits) -> Mask:
        """(rows, cols) some cells, and the neighbours that their bits name."""
        rows, cols = some.shape
        spread = some.copy()
        for number, (down, right) in enumerate(self.offsets):
            here = some & (bits >> bits.dtype.type(number) & bits.dtype.type(1)).astype(bool)
            if abs(down) < rows and abs(right) < cols:
                to = slice(max(down, 0), rows + min(down, 0)), slice(max(right, 0), cols + min(right, 0))
                of = slice(max(-down, 0), rows - max(down, 0)), slice(max(-right, 0), cols - max(right, 0))
                spread[to] |= here[of]
        return spread


@dataclass(frozen=True)
class CellSpots:
    """Spots in each cell.

    Args:
        valid, certain, doubtful: (rows, cols) square metres of pixels with data, of certain and of doubtful spots.
        near_certain, near_doubtful: (rows, cols) bits of the neighbours within the margin of such a spot of the cell.
    """

    rule: SpotRule
    neighbours: Neighbours
    valid: Floats
    certain: Floats
    doubtful: Floats
    near_certain: Bits
    near_doubtful: Bits

    @classmethod
    def of(cls, source: MaskSource, cells: Cells, rule: SpotRule, probabilities: Path | None = None) -> "CellSpots":
        """Those of a map, read once in strips; see `spot_strips`.

        Raises:
            DataError: the map cannot be read.
            UsageError: the margin is too long for the cells.
        """
        neighbours = Neighbours.of(rule.margin, cells)
        areas = [np.zeros(cells.shape) for _ in range(3)]
        near = [np.zeros(cells.shape, neighbours.no_bits) for _ in range(2)]
        for strip in spot_strips(source, rule, probabilities):
            for block in _blocks(strip, cells, source.width):
                _add_area(areas[0], block, block.valid)
                for some, area, bits in zip((block.certain, block.doubtful), areas[1:], near, strict=True):
                    if some.any():
                        _add_area(area, block, some)
                        _add_bits(bits, block, some, neighbours)
        return cls(rule, neighbours, areas[0], areas[1], areas[2], near[0], near[1])

    @property
    def spots(self) -> Floats:
        """(rows, cols) square metres of what counts as a spot."""
        return self.certain + self.doubtful if self.rule.treat_doubtful else self.certain

    @property
    def treated(self) -> Mask:
        """(rows, cols) cells that are treated for spots of their own or within the margin."""
        if not self.rule.treat_doubtful:
            return self.treated_for_certain
        return self.neighbours.spread(self.enough(self.spots), self.near_certain | self.near_doubtful)

    @property
    def treated_for_certain(self) -> Mask:
        """(rows, cols) cells that would be treated if doubtful pixels did not count."""
        return self.neighbours.spread(self.enough(self.certain), self.near_certain)

    def enough(self, area: Floats) -> Mask:
        """Cells with the least area of spots."""
        return (area > 0) & (area >= self.rule.min_area * (1 - _ROUNDING))


def treated_cells(source: MaskSource, cells: Cells, rule: SpotRule, probabilities: Path | None = None) -> Mask:
    """(rows, cols) bool: cells that are treated for the spots of a map, wherever they are.

    A curve over thresholds calls it with rules of several; `Plan.allowed` says where a cell may be treated at all.

    Args:
        source: any map, or true labels with a confidence of 1 (250 counts).
        probabilities: of the map, see `probability_layer`; None uses classes and confidence.

    Raises:
        DataError: the map cannot be read.
        UsageError: the margin is too long for the cells.
    """
    return CellSpots.of(source, cells, rule, probabilities).treated


def valid_ground(source: MaskSource, cells: Cells) -> Floats:
    """(rows, cols) square metres of pixels with data in each cell of a map.

    Raises:
        DataError: the map cannot be read.
    """
    area = np.zeros(cells.shape)
    for strip in source.strips(ROWS):
        valid = strip.mask != NODATA
        for block in _blocks(SpotStrip(strip.rows, valid, valid, valid), cells, source.width):
            _add_area(area, block, block.valid)
    return area


@dataclass(frozen=True)
class _Block:
    """Pixels of a block of a strip, (h, w) each: places in cells, and what they are."""

    pixel_area: float
    y: Floats
    x: Floats
    valid: Mask
    certain: Mask
    doubtful: Mask


def _blocks(strip: SpotStrip, cells: Cells, width: int) -> Iterator[_Block]:
    """The blocks of a strip that have data."""
    for rows, cols, pixel_area, y, x in cells.blocks(strip.rows, width):
        valid = strip.valid[rows, cols]
        if valid.any():
            yield _Block(pixel_area, y, x, valid, strip.certain[rows, cols], strip.doubtful[rows, cols])


def _add_area(area: Floats, block: _Block, some: Mask) -> None:
    """Add some pixels of a block to the (rows, cols) square metres of their cells."""
    row, col = (each[some].astype(np.int32) for each in (block.y, block.x))
    top, left = int(row.min()), int(col.min())
    n, m = int(row.max()) + 1 - top, int(col.max()) + 1 - left
    counts = np.bincount((row - top) * m + (col - left), minlength=n * m).reshape(n, m)
    area[top : top + n, left : left + m] += counts * block.pixel_area


def _add_bits(bits: Bits, block: _Block, some: Mask, neighbours: Neighbours) -> None:
    """Add the neighbours within reach of some pixels of a block to the (rows, cols) bits of their cells."""
    y, x = block.y[some], block.x[some]
    reached = neighbours.reached(y, x)
    near = reached > 0
    np.bitwise_or.at(bits, (y[near].astype(np.int32), x[near].astype(np.int32)), reached[near])


def _gap(within: Floats, step: int) -> Floats:
    """Distance along an axis from a place in a cell, 0 to 1, to the cell that lies some steps away."""
    if step == 0:
        return np.zeros_like(within)
    return step - within if step > 0 else within - step - 1
