"""Weights that sum to one, and the fold that uses them.

The grid is a product of two axes, so a tile's weights are the outer product of two 1-D profiles. Between two
neighbours one profile falls as `1 - w` where the other rises as `w`; so the profiles sum to one by
construction, and folding is a plain sum: no weight volume, no division, no 0/0.

`margin = overlap / 2` leaves no ramp: each tile is cropped to its own part, the exact mode. `margin = 0` is a
Hann window. In between, the part of the overlap that the network saw with little context is not trusted.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.grid import Axis


def ramp(length: int) -> NDArray[np.float32]:
    """Rising half of a Hann window, sampled at cell centres.

    Returns:
        (length,) float32 in (0, 1): sin^2(pi/2 * (i + 1/2) / length).
        Source: Pielawski and Waehlby 2020, doi 10.1371/journal.pone.0229839 (Hann, the best of the compared).
    """
    position = (np.arange(length) + 0.5) / max(length, 1)
    return (np.sin(np.pi / 2 * position) ** 2).astype(np.float32)


def profile(axis: Axis, index: int) -> NDArray[np.float32]:
    """Weight of each cell of tile `index` along one axis.

    Returns:
        (axis.length / axis.stride,) float32 in [0, 1]. Over all tiles the profiles sum to one in every cell.

    >>> profile(Axis(size=12, tile=8, overlap=4, margin=2), 0)
    array([1., 1., 1., 1., 1., 1., 0., 0.], dtype=float32)
    """
    origin, stride = axis.origin(index), axis.stride
    weights = np.zeros(axis.length // stride, np.float32)
    first, last = ((edge - origin) // stride for edge in axis.footprint(index))
    weights[first:last] = 1
    rise = ramp((axis.overlap - 2 * axis.margin) // stride)
    if index > 0:
        weights[first : first + len(rise)] = rise
    if index < len(axis) - 1:
        weights[last - len(rise) : last] = 1 - rise
    return weights


@dataclass(frozen=True)
class LogitsAccumulator:
    """Sums of weighted logits, (K, h, w) float32, over cells of the raster; `row` and `col` are the first cell."""

    row: int
    col: int
    sums: torch.Tensor

    @property
    def rows(self) -> tuple[int, int]:
        """Rows of cells, half-open."""
        return self.row, self.row + self.sums.shape[1]

    @property
    def cols(self) -> tuple[int, int]:
        """Columns of cells, half-open."""
        return self.col, self.col + self.sums.shape[2]

    def view(self, rows: tuple[int, int], cols: tuple[int, int]) -> "LogitsAccumulator":
        """The cells in these rows and columns; shares memory."""
        top, bottom = _overlap(self.rows, rows)
        left, right = _overlap(self.cols, cols)
        part = self.sums[:, top - self.row : bottom - self.row, left - self.col : right - self.col]
        return LogitsAccumulator(top, left, part)

    def copy_from(self, other: "LogitsAccumulator") -> None:
        """Copy the cells that both have from the other."""
        mine, theirs = self.view(other.rows, other.cols), other.view(self.rows, self.cols)
        mine.sums.copy_(theirs.sums, non_blocking=True)

    def add(self, logits: "LogitsAccumulator", weights: torch.Tensor) -> None:
        """Add the logits of a tile (K, p, q), times its weights (p, q), in the cells that both have."""
        mine, theirs = self.view(logits.rows, logits.cols), logits.view(self.rows, self.cols)
        weighted = LogitsAccumulator(logits.row, logits.col, weights[None]).view(self.rows, self.cols)
        mine.sums.addcmul_(theirs.sums, weighted.sums)


def _overlap(mine: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    first = max(mine[0], other[0])
    return first, max(first, min(mine[1], other[1]))
