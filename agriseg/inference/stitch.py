"""Blends the logits of neighbouring tiles, one tile row after the other.

The sums of weighted logits cover one tile. They move from left to right along a tile row. After a tile is added, the
pixels before the first weighted cell of the next tile are final. Sums that the next tile adds to move on. Sums that the
tile row below adds to are copied into the carry, which is a few cells high. So memory does not depend on the height of
the raster, and hardly on its width.

All sums are made in one order, whatever the batch, the band or the thread: the bytes are the same. A band without carry
starts with the tile rows above it that have weight in it. It adds the same numbers in the same order.
"""

import torch

from agriseg.blend import LogitsAccumulator, profile
from agriseg.grid import Axis, Tile, Window
from agriseg.inference.band_arrays import upload
from agriseg.inference.classify import upsample
from agriseg.inference.plan import Plan


class Stitcher:
    """Blends the tiles of a plan; the device holds the sums of K `classes`."""

    def __init__(self, plan: Plan, classes: int, device: torch.device) -> None:
        self.plan = plan
        self._classes = classes
        self._device = device
        self._across = {col: self._profile(plan.grid.cols, col) for col in plan.tile_cols}
        self._row = plan.tile_rows.start
        self._down = self._profile(plan.grid.rows, self._row)

    def weights(self, tile: Tile) -> torch.Tensor:
        """(p, q) float32 in [0, 1], for the logits of a tile."""
        if tile.row != self._row:
            self._row, self._down = tile.row, self._profile(self.plan.grid.rows, tile.row)
        return self._down[:, None] * self._across[tile.col]

    def zeros(self, rows: tuple[int, int], cols: tuple[int, int]) -> LogitsAccumulator:
        """Empty sums over cells; both ranges are half-open."""
        shape = (self._classes, rows[1] - rows[0], cols[1] - cols[0])
        return LogitsAccumulator(rows[0], cols[0], torch.zeros(shape, device=self._device))

    def _profile(self, axis: Axis, index: int) -> torch.Tensor:
        return upload(torch.from_numpy(profile(axis, index)), self._device)


class StitchedRow:
    """Blends one tile row; its tiles are added from left to right.

    Args:
        start: first raster row that is not final.
        carry: of the tile row above; None if it has no weight here, or no data.
    """

    def __init__(self, stitcher: Stitcher, row: int, start: int, carry: LogitsAccumulator | None) -> None:
        plan = self._plan = stitcher.plan
        rows, cols = plan.grid.rows, plan.grid.cols
        self._stitcher = stitcher
        self._above = carry
        self._rows = start, max(start, plan.row_stop(row))
        self._left = plan.roi.col_off
        top = carry.row if carry else rows.logit_cells(start, start + 1)[0]
        bottom = rows.footprint(row)[1] // rows.stride
        is_last = row + 1 == plan.tile_rows.stop
        below = bottom if is_last else rows.logit_cells(self._rows[1], self._rows[1] + 1)[0]
        first, self._last = cols.logit_cells(plan.roi.col_off, plan.roi.col_stop)
        self._below = stitcher.zeros((below, bottom), (first, self._last))
        self._sums = stitcher.zeros((top, bottom), (first, first))

    @property
    def carry(self) -> LogitsAccumulator | None:
        """Sums that the tile row below adds to, after the last tile; None if there are none."""
        return self._below if self._below.sums.shape[1] else None

    def add(self, tile: Tile, logits: torch.Tensor | None) -> Window | None:
        """Add the next tile of the row, with its logits (K, p, q) float32, or None if it holds no data.

        Returns:
            Raster pixels of the mapped window that are final now and were not before; None if there are none.
        """
        rows, cols = self._plan.grid.rows, self._plan.grid.cols
        start, stop = self._left, max(self._left, self._plan.col_stop(tile.col))
        self._move(cols.logit_cells(start, start + 1)[0], min(cols.footprint(tile.col)[1] // cols.stride, self._last))
        if logits is not None:
            row, col = tile.window.row_off // rows.stride, tile.window.col_off // cols.stride
            self._sums.add(LogitsAccumulator(row, col, logits), self._stitcher.weights(tile))
        self._below.copy_from(self._sums)
        self._left = stop
        top, bottom = self._rows
        return Window(start, top, stop - start, bottom - top) if start < stop and top < bottom else None

    def pixels(self, window: Window) -> torch.Tensor:
        """Blended logits (K, h, w) float32 of the pixels that the last `add` returned."""
        grid, stride = self._plan.grid, self._plan.grid.stride
        cells = self._sums.view(
            grid.rows.logit_cells(window.row_off, window.row_stop),
            grid.cols.logit_cells(window.col_off, window.col_stop),
        )
        top, left = window.row_off - cells.row * stride, window.col_off - cells.col * stride
        return upsample(cells.sums, stride)[:, top : top + window.height, left : left + window.width]

    def _move(self, first: int, last: int) -> None:
        """Let the sums cover these columns of cells: what they had there, else the carry from above, else zero."""
        moved = self._stitcher.zeros(self._sums.rows, (first, last))
        if self._above:
            moved.copy_from(self._above)
        moved.copy_from(self._sums)
        self._sums = moved
