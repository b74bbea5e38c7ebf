"""Where a raster has data, roughly: how many tiles of a plan go through the network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.grid import Axis, Window
from agriseg.inference.plan import Plan
from agriseg.raster.reader import Reader, Source

_POINTS = 24  # along each side


@dataclass(frozen=True)
class Coverage:
    """Validity of single pixels on a lattice over the mapped window.

    Args:
        rows, cols: (n,) ascending, of the working grid.
        valid: (n, m) bool.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    valid: NDArray[np.bool_]

    @classmethod
    def look(cls, source: Source, roi: Window) -> "Coverage":
        """Read the pixels of the lattice; DataError if a block cannot be read and the source does not salvage."""
        rows, cols = (
            np.unique(start + ((np.arange(_POINTS) + 0.5) * length / _POINTS).astype(np.int64))
            for start, length in ((roi.row_off, roi.height), (roi.col_off, roi.width))
        )
        with Reader(source) as reader:
            valid = [[bool(reader.read(Window(int(col), int(row), 1, 1)).valid[0, 0]) for col in cols] for row in rows]
        return cls(rows, cols, np.array(valid))

    def tiles(self, plan: Plan) -> int:
        """Expected number of tiles with data: those with a valid pixel of the lattice, or the nearest to them valid."""
        sums = np.zeros((len(self.rows) + 1, len(self.cols) + 1), np.int64)
        sums[1:, 1:] = self.valid.cumsum(0).cumsum(1)
        (top, bottom), (left, right) = (
            _spans(points, axis, tiles)
            for points, axis, tiles in (
                (self.rows, plan.grid.rows, plan.tile_rows),
                (self.cols, plan.grid.cols, plan.tile_cols),
            )
        )
        found = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
        return int(np.count_nonzero(found))


def _spans(points: NDArray[np.int64], axis: Axis, tiles: range) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last (exclusive) point of the lattice in the footprint of each tile, at least the nearest one."""
    footprints = np.array([axis.footprint(index) for index in tiles])
    first, last = np.searchsorted(points, footprints[:, 0]), np.searchsorted(points, footprints[:, 1])
    middle = np.abs(points[None] - footprints.mean(1, keepdims=True)).argmin(1)
    none = first == last
    return np.where(none, middle, first), np.where(none, middle + 1, last)
