"""One band of tiles after the other: pixels in, classes out.

The sweep keeps the weighted sums of the logits, one tile row high. When a tile row is folded, the raster rows
above the next row's first weighted cell are final: they are upsampled, decided and forgotten. What the next
row adds to is carried over. So memory does not know the raster's height, and a tile is computed once.

The sums are made in one order, row by row and left to right, whatever the batch, the band or the thread: same
bytes. A band that starts without a carry computes the tile rows before it that still have weight; it adds the
same numbers in the same order.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.blend import fold, profile
from agriseg.engine.decide import decide, probabilities, upsample
from agriseg.engine.device import Forward
from agriseg.engine.plan import Band, Plan
from agriseg.errors import PredictionError
from agriseg.grid import Tile
from agriseg.legend import NODATA
from agriseg.model import SegmentationModel
from agriseg.raster.reader import Strip


@dataclass(frozen=True)
class Carry:
    """Sums that the next tile row adds to.

    Args:
        first: row of the first cell.
        sums: (K, n, w) float32.
    """

    first: int
    sums: torch.Tensor


@dataclass(frozen=True)
class Decided:
    """Finished rows of the map.

    Args:
        row_off: first row, in the working grid.
        layers: name to (bands, h, w) uint8 over the mapped window's columns.
        class_pixels: (h, K) pixels of each class in each row.
        tiles: tiles that went through the network.
        carry: for the band below.
    """

    row_off: int
    layers: dict[str, NDArray[np.uint8]]
    class_pixels: NDArray[np.int64]
    tiles: int
    carry: Carry | None


class Sweep:
    """Runs bands of one plan with one model.

    Args:
        plan: what to run.
        model: normalisation, number of classes, temperature.
        forward: its network.
        progress: told of each number of tiles that is done, skipped ones with them.
    """

    def __init__(
        self, plan: Plan, model: SegmentationModel, forward: Forward, progress: Callable[[int], None]
    ) -> None:
        self._plan = plan
        self._model = model
        self._forward = forward
        self._progress = progress
        cols = plan.grid.cols
        self._cells = cols.cells(plan.roi.col_off, plan.roi.col_stop)
        self._across = {col: torch.from_numpy(profile(cols, col)).to(forward.device) for col in plan.tile_cols}

    def run(self, band: Band, strip: Strip, carry: Carry | None) -> Decided:
        """Run a band's tiles and decide its rows.

        Args:
            band: of the plan.
            strip: the pixels `plan.strip(band)` names.
            carry: from the band above; None starts afresh.

        Raises:
            PredictionError: the network answered NaN or infinity; the tile is named.
        """
        pixels = torch.from_numpy(strip.pixels).to(self._forward.device)
        valid = torch.from_numpy(strip.valid).to(self._forward.device)
        layers = self._empty_layers(band.rows[1] - band.rows[0])
        start, count = band.rows[0], 0
        for row in band.tiles:
            sums = self._begin(row, start, carry)
            tiles = [tile for tile in self._row(row) if self._has_data(tile, strip)]
            for first in range(0, len(tiles), self._plan.batch):
                self._fold(tiles[first : first + self._plan.batch], pixels, valid, strip, sums)
            stop = max(start, min(self._plan.grid.rows.cut(row + 1), band.rows[1]))
            self._decide(sums, start, stop, valid, strip, layers, band.rows[0])
            carry = self._carry(sums, row, stop)
            start, count = stop, count + len(tiles)
            self._progress(len(self._plan.tile_cols))
        return Decided(band.rows[0], layers, self._class_pixels(layers["classes"][0]), count, carry)

    def _row(self, row: int) -> list[Tile]:
        return [self._plan.grid[row, col] for col in self._plan.tile_cols]

    def _empty_layers(self, height: int) -> dict[str, NDArray[np.uint8]]:
        width = self._plan.roi.width
        return {name: np.full((bands, height, width), NODATA, np.uint8) for name, bands in self._plan.layers.items()}

    def _begin(self, row: int, start: int, carry: Carry | None) -> Carry:
        """Zero sums from the first cell that row `start` needs down to the tile row's last weighted one."""
        rows, stride = self._plan.grid.rows, self._plan.grid.stride
        first = carry.first if carry else rows.cells(start, start + 1)[0]
        last = rows.support(row)[1] // stride
        shape = (len(self._model.legend), last - first, self._cells[1] - self._cells[0])
        sums = torch.zeros(shape, device=self._forward.device)
        if carry:
            sums[:, : carry.sums.shape[1]] = carry.sums
        return Carry(first, sums)

    def _has_data(self, tile: Tile, strip: Strip) -> bool:
        """Whether any valid pixel leans on a cell that this tile has weight on."""
        grid, reach = self._plan.grid, self._plan.grid.stride // 2
        edges = (grid.rows.support(tile.row), strip.window.row_off), (grid.cols.support(tile.col), strip.window.col_off)
        rows, cols = (slice(max(0, low - reach - off), high + reach - off) for (low, high), off in edges)
        return bool(strip.valid[rows, cols].any())

    def _fold(
        self, tiles: list[Tile], pixels: torch.Tensor, valid: torch.Tensor, strip: Strip, sums: Carry
    ) -> None:
        """Run one batch and add its logits to the sums."""
        rows, stride = self._plan.grid.rows, self._plan.grid.stride
        logits = self._forward(self._batch(tiles, pixels, valid, strip))
        if not torch.isfinite(logits).all():
            bad = next(tile for tile, answer in zip(tiles, logits, strict=True) if not torch.isfinite(answer).all())
            raise PredictionError(f"the network answers NaN or infinity in {bad.window}; is the model damaged?")
        down = torch.from_numpy(profile(rows, tiles[0].row)).to(self._forward.device)
        for tile, answer in zip(tiles, logits, strict=True):
            top, left = tile.window.row_off // stride, tile.window.col_off // stride
            window = (
                _within(rows.support(tile.row), stride, top, sums.first, sums.first + sums.sums.shape[1]),
                _within(self._plan.grid.cols.support(tile.col), stride, left, *self._cells),
            )
            weights = down[:, None] * self._across[tile.col]
            fold(sums.sums, answer, weights, window, (top - sums.first, left - self._cells[0]))

    def _batch(self, tiles: list[Tile], pixels: torch.Tensor, valid: torch.Tensor, strip: Strip) -> torch.Tensor:
        """Normalised tiles (B, C, h, w); the mean where a pixel is not valid and beyond the raster."""
        grid = self._plan.grid
        x = self._forward.zeros(len(tiles), grid.rows.length, grid.cols.length)
        for place, tile in zip(x, tiles, strict=True):
            top, left = tile.window.row_off - strip.window.row_off, tile.window.col_off - strip.window.col_off
            height = min(tile.window.row_stop, grid.rows.size) - tile.window.row_off
            width = min(tile.window.col_stop, grid.cols.size) - tile.window.col_off
            part = slice(top, top + height), slice(left, left + width)
            place[:, :height, :width] = self._model.normalization(pixels[(slice(None), *part)], valid[part])
        return x

    def _decide(
        self, sums: Carry, start: int, stop: int, valid: torch.Tensor, strip: Strip,
        layers: dict[str, NDArray[np.uint8]], row_off: int,
    ) -> None:  # fmt: skip
        """Turn the sums of raster rows `[start, stop)` into layers, core by core."""
        grid, roi = self._plan.grid, self._plan.roi
        if start == stop:
            return
        for col in self._plan.tile_cols:
            left, right = max(grid.cols.cut(col), roi.col_off), min(grid.cols.cut(col + 1), roi.col_stop)
            rows = slice(start - strip.window.row_off, stop - strip.window.row_off)
            known = valid[rows, left - strip.window.col_off : right - strip.window.col_off]
            if left >= right or not known.any():
                continue
            logits = self._pixels(sums, (start, stop), (left, right))
            classes, confidence, denominator = decide(logits, self._model.temperature)
            place = slice(start - row_off, stop - row_off), slice(left - roi.col_off, right - roi.col_off)
            for name, layer in (("classes", classes), ("confidence", confidence)):
                layers[name][0][place] = layer.masked_fill_(~known, NODATA).cpu().numpy()
            if "probabilities" in layers:
                shares = probabilities(logits, self._model.temperature, denominator)
                layers["probabilities"][(slice(None), *place)] = shares.masked_fill_(~known, NODATA).cpu().numpy()

    def _pixels(self, sums: Carry, rows: tuple[int, int], cols: tuple[int, int]) -> torch.Tensor:
        """Logits (K, h, w) of a rectangle of raster pixels."""
        grid, stride = self._plan.grid, self._plan.grid.stride
        (top, bottom), (left, right) = grid.rows.cells(*rows), grid.cols.cells(*cols)
        cells = sums.sums[:, top - sums.first : bottom - sums.first, left - self._cells[0] : right - self._cells[0]]
        row, col = rows[0] - top * stride, cols[0] - left * stride
        return upsample(cells, stride)[:, row : row + rows[1] - rows[0], col : col + cols[1] - cols[0]]

    def _carry(self, sums: Carry, row: int, stop: int) -> Carry | None:
        """The sums that rows from `stop` on still need; a copy, so that the rest can go."""
        if row + 1 >= self._plan.tile_rows.stop:
            return None
        first = self._plan.grid.rows.cells(stop, stop + 1)[0]
        return Carry(first, sums.sums[:, first - sums.first :].clone())

    def _class_pixels(self, classes: NDArray[np.uint8]) -> NDArray[np.int64]:
        counts = [np.count_nonzero(classes == k, axis=1) for k in range(len(self._model.legend))]
        return np.stack(counts, axis=1).astype(np.int64)


def _within(support: tuple[int, int], stride: int, origin: int, low: int, high: int) -> slice:
    """A tile's weighted cells that lie in the cells `[low, high)`, counted from the tile's first."""
    return slice(max(support[0] // stride, low) - origin, min(support[1] // stride, high) - origin)
