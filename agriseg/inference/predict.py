"""One tile after the other: pixels in, classes out.

A patch of weighted sums, no larger than a tile, moves from left to right along a tile row. When a tile is
folded in, all that lies before the next tile's first weighted cell is final, to the left and above: it is
upsampled, decided and forgotten. What the next tile adds to goes on in the patch; what the tile row below adds
to goes into a carry, a few cells high. So memory does not know the raster's height and hardly its width, and
each tile is computed once.

The sums are made in one order, whatever the batch, the band or the thread: same bytes. A band that starts
without a carry first runs the tile rows above it that still have weight; it adds the same numbers in the same
order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.blend import LogitsAccumulator, profile
from agriseg.errors import DeviceMemoryError, PredictionError
from agriseg.grid import Axis, Tile, Window, intersection
from agriseg.inference.classify import classify, probabilities, upsample
from agriseg.inference.device import Forward
from agriseg.inference.malloc import release_heap
from agriseg.inference.plan import Plan, TileRowGroup
from agriseg.legend import NODATA
from agriseg.model import SegmentationModel
from agriseg.raster.reader import PixelStrip
from agriseg.storage.logits_cache import LogitsCache

Span = tuple[int, int]
LogitsObserver = Callable[[torch.Tensor, torch.Tensor, Span, Span], None]
"""Shown the blended logits (K, h, w) and validity (h, w) of raster rows and columns; each valid pixel once."""


@dataclass(frozen=True)
class ClassifiedRows:
    """Finished rows of the map.

    Args:
        band: which.
        layers: name to (bands, h, w) uint8 over the mapped window's columns.
        class_pixels: (h, K) pixels of each class in each row.
        tiles: tiles that went through the network, now or in a run before this one.
        carry: sums that the band below adds to.
        lost: windows of these rows, within the mapped window, whose pixels could not be read.
    """

    band: TileRowGroup
    layers: dict[str, NDArray[np.uint8]]
    class_pixels: NDArray[np.int64]
    tiles: int
    carry: LogitsAccumulator | None
    lost: tuple[Window, ...] = ()


class Sweep:
    """Runs the bands of one plan with one model.

    Args:
        plan: what to run.
        model: normalisation, number of classes, temperature.
        forward: its network.
        progress: told of each number of tiles that is done, skipped ones with them.
        answers: remembers what the network answers; None remembers nothing.
        watch: shown the logits, or None.
    """

    def __init__(
        self, plan: Plan, model: SegmentationModel, forward: Forward, progress: Callable[[int], None],
        answers: LogitsCache | None = None, watch: LogitsObserver | None = None,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._grid = plan.grid
        self._model = model
        self._forward = forward
        self._progress = progress
        self._kept = answers
        self._watch = watch
        self.batch = plan.batch
        """Tiles per forward: what the plan says, less when the device's memory does not hold as many."""
        self._across = {col: self._profile(plan.grid.cols, col) for col in plan.tile_cols}

    def run(self, band: TileRowGroup, strip: PixelStrip, carry: LogitsAccumulator | None) -> ClassifiedRows:
        """Run a band's tiles and decide its rows.

        Args:
            band: of the plan.
            strip: the pixels `plan.strip(band)` names.
            carry: from the band above; of no use to one that starts afresh.

        Raises:
            PredictionError: the network answered NaN or infinity; the tile is named.
        """
        job = _Strip(self._forward.device, strip, _Layers(self._plan, band))
        start, ran = band.rows[0], 0
        carry = None if band.without_carry else carry
        for row in band.tiles:
            stop = max(start, self._plan.row_stop(row))
            if self._any_valid(strip, (0, self._grid.cols.padded), self._tile_rows(row)):
                carry, tiles = self._run_row(row, (start, stop), job, carry)
            else:  # nothing to decide here, and no sum from here that a valid pixel below leans on
                carry, tiles = None, 0
            start = stop
            if row >= band.tiles.start + band.recomputed_rows:
                ran += tiles
                self._progress(len(self._plan.tile_cols))
        release_heap()
        layers = job.layers.arrays
        return ClassifiedRows(
            band, layers, self._class_pixels(layers["classes"][0]), ran, carry, self._lost(band, strip)
        )

    def _run_row(
        self, row: int, rows: Span, job: "_Strip", carry: LogitsAccumulator | None
    ) -> tuple[LogitsAccumulator | None, int]:
        """Run one tile row and decide the raster rows `rows`; returns the carry and the tiles run."""
        grid, stride = self._grid, self._grid.stride
        top = carry.row if carry else grid.rows.logit_cells(rows[0], rows[0] + 1)[0]
        bottom = grid.rows.footprint(row)[1] // stride
        kept = grid.rows.logit_cells(rows[1], rows[1] + 1)[0] if row + 1 < self._plan.tile_rows.stop else bottom
        first, last = grid.cols.logit_cells(self._plan.roi.col_off, self._plan.roi.col_stop)
        below = self._patch((kept, bottom), (first, last))
        moving = self._patch((top, bottom), (first, first))
        start, ran = self._plan.roi.col_off, 0
        for tile, logits in self._answers(row, job):
            end = min(grid.cols.footprint(tile.col)[1] // stride, last)
            moving = self._moved(moving, (grid.cols.logit_cells(start, start + 1)[0], end), carry)
            if logits is not None:
                moving.add(logits, self._profile(grid.rows, row)[:, None] * self._across[tile.col])
                ran += 1
            stop = max(start, self._plan.col_stop(tile.col))
            self._decide(moving, rows, (start, stop), job)
            below.copy_from(moving)
            start = stop
        return (below if kept < bottom else None), ran

    def _answers(self, row: int, job: "_Strip") -> Iterator[tuple[Tile, LogitsAccumulator | None]]:
        """Each tile of a row with its logits, or None for a tile without data; batch by batch."""
        waiting: list[tuple[Tile, bool]] = []
        for col in self._plan.tile_cols:
            tile = self._grid[row, col]
            waiting.append((tile, self._has_data(tile, job.strip)))
            if sum(has_data for _, has_data in waiting) == self._plan.batch:
                yield from self._answer(waiting, job)
                waiting = []
        yield from self._answer(waiting, job)

    def _answer(
        self, waiting: list[tuple[Tile, bool]], job: "_Strip"
    ) -> Iterator[tuple[Tile, LogitsAccumulator | None]]:
        """Run those tiles that have data, and whose answers are not known yet, as one batch."""
        wanted = [tile for tile, has_data in waiting if has_data]
        known = {tile.col: self._kept.get(tile.row, tile.col) for tile in wanted} if self._kept else {}
        fresh = [tile for tile in wanted if known.get(tile.col) is None]
        for tile, answer in zip(fresh, self._forwarded(fresh, job), strict=True):
            if not torch.isfinite(answer).all():
                raise PredictionError(f"the network answers NaN or infinity in {tile.window}; is the model damaged?")
            if self._kept:
                self._kept.put(tile.row, tile.col, answer)
            known[tile.col] = answer
        stride = self._grid.stride
        for tile, _ in waiting:
            logits = known.get(tile.col)
            place = tile.window.row_off // stride, tile.window.col_off // stride
            yield tile, None if logits is None else LogitsAccumulator(*place, logits.to(self._forward.device))

    def _forwarded(self, tiles: list[Tile], job: "_Strip") -> Iterator[torch.Tensor]:
        """The network's answers (K, h, w); when memory is short in fewer tiles at a time, from then on.

        Raises:
            DeviceMemoryError: there is not enough of it for a single tile.
        """
        done = 0
        while done < len(tiles):
            step = tiles[done : done + self.batch]
            if self._kept:
                self._kept.mark_running(step[0])
            try:
                answers = self._forward(self._batch(step, job))
            except torch.OutOfMemoryError as error:
                if len(step) == 1:
                    raise DeviceMemoryError(
                        f"{self._forward.device} has not enough memory for one tile of {self._grid.rows.tile} px; "
                        "give a smaller --tile, or --device cpu"
                    ) from error
                self.batch = len(step) // 2
                continue
            yield from answers
            done += len(step)

    def _batch(self, tiles: list[Tile], job: "_Strip") -> torch.Tensor:
        """Normalised tiles (B, C, h, w); the mean where a pixel is not valid and beyond the raster."""
        grid, window = self._grid, job.strip.window
        x = self._forward.zeros(len(tiles), grid.rows.length, grid.cols.length)
        for place, tile in zip(x, tiles, strict=True):
            top, left = tile.window.row_off - window.row_off, tile.window.col_off - window.col_off
            height = min(tile.window.row_stop, grid.rows.size) - tile.window.row_off
            width = min(tile.window.col_stop, grid.cols.size) - tile.window.col_off
            part = slice(top, top + height), slice(left, left + width)
            place[:, :height, :width] = self._model.normalization(job.pixels[(slice(None), *part)], job.valid[part])
        return x

    def _has_data(self, tile: Tile, strip: PixelStrip) -> bool:
        """Whether any valid pixel leans on a cell that this tile has weight on."""
        return self._any_valid(strip, self._grid.cols.footprint(tile.col), self._grid.rows.footprint(tile.row))

    def _tile_rows(self, row: int) -> Span:
        """Raster rows under a tile row."""
        return self._grid.rows.origin(row), self._grid.rows.origin(row) + self._grid.rows.length

    def _any_valid(self, strip: PixelStrip, cols: Span, rows: Span) -> bool:
        """Whether there is a valid pixel in a rectangle or half a cell around it."""
        reach = self._grid.stride // 2
        sides = (rows, strip.window.row_off), (cols, strip.window.col_off)
        down, across = (slice(max(0, low - reach - off), high + reach - off) for (low, high), off in sides)
        return bool(strip.valid[down, across].any())

    def _moved(self, patch: LogitsAccumulator, cols: Span, carry: LogitsAccumulator | None) -> LogitsAccumulator:
        """The patch at its next place: what it had there, the carry from above on new ground, else zero."""
        moved = self._patch(patch.rows, cols)
        if carry:
            moved.copy_from(carry)
        moved.copy_from(patch)
        return moved

    def _decide(self, sums: LogitsAccumulator, rows: Span, cols: Span, job: "_Strip") -> None:
        """Turn the sums of a rectangle of raster pixels into layers."""
        window = job.strip.window
        known = job.valid[
            rows[0] - window.row_off : rows[1] - window.row_off, cols[0] - window.col_off : cols[1] - window.col_off
        ]
        if not known.any():
            return
        logits = self._pixels(sums, rows, cols)
        if self._watch is not None:
            self._watch(logits, known, rows, cols)
        classes, confidence, denominator = classify(logits, self._model.temperature)
        job.layers.put("classes", classes[None], known, rows, cols)
        job.layers.put("confidence", confidence[None], known, rows, cols)
        if "probabilities" in job.layers.arrays:
            shares = probabilities(logits, self._model.temperature, denominator)
            job.layers.put("probabilities", shares, known, rows, cols)

    def _pixels(self, sums: LogitsAccumulator, rows: Span, cols: Span) -> torch.Tensor:
        """Logits (K, h, w) of a rectangle of raster pixels."""
        stride = self._grid.stride
        cells = sums.view(self._grid.rows.logit_cells(*rows), self._grid.cols.logit_cells(*cols))
        top, left = rows[0] - cells.row * stride, cols[0] - cells.col * stride
        return upsample(cells.sums, stride)[:, top : top + rows[1] - rows[0], left : left + cols[1] - cols[0]]

    def _patch(self, rows: Span, cols: Span) -> LogitsAccumulator:
        shape = (len(self._model.legend), rows[1] - rows[0], cols[1] - cols[0])
        return LogitsAccumulator(rows[0], cols[0], torch.zeros(shape, device=self._forward.device))

    def _profile(self, axis: Axis, index: int) -> torch.Tensor:
        return torch.from_numpy(profile(axis, index)).to(self._forward.device)

    def _lost(self, band: TileRowGroup, strip: PixelStrip) -> tuple[Window, ...]:
        """What of a band's rows could not be read."""
        if not strip.lost or band.rows[0] == band.rows[1]:
            return ()
        roi = self._plan.roi
        decided = Window(roi.col_off, band.rows[0], roi.width, band.rows[1] - band.rows[0])
        return tuple(part for each in strip.lost if (part := intersection(each, decided)))

    def _class_pixels(self, classes: NDArray[np.uint8]) -> NDArray[np.int64]:
        counts = [np.count_nonzero(classes == k, axis=1) for k in range(len(self._model.legend))]
        return np.stack(counts, axis=1).astype(np.int64)


class _Layers:
    """The rows of the map that a band decides, on the host; nodata until they are put."""

    def __init__(self, plan: Plan, band: TileRowGroup) -> None:
        height, width = band.rows[1] - band.rows[0], plan.roi.width
        self._row_off, self._col_off = band.rows[0], plan.roi.col_off
        self.arrays = {name: np.full((bands, height, width), NODATA, np.uint8) for name, bands in plan.layers.items()}

    def put(self, name: str, values: torch.Tensor, known: torch.Tensor, rows: Span, cols: Span) -> None:
        """Place (bands, h, w) values; nodata where not known."""
        place = self.arrays[name][
            :, rows[0] - self._row_off : rows[1] - self._row_off, cols[0] - self._col_off : cols[1] - self._col_off
        ]
        place[:] = values.masked_fill_(~known, NODATA).cpu().numpy()


class _Strip:
    """A band's pixels on the device, with what is made of them."""

    def __init__(self, device: torch.device, strip: PixelStrip, layers: _Layers) -> None:
        self.strip = strip
        self.layers = layers
        self.pixels = torch.from_numpy(strip.pixels).to(device)
        self.valid = torch.from_numpy(strip.valid).to(device)
