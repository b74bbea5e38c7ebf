"""Maps the pixels of a band: runs the network on its tiles and classifies the blended logits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.backends.backend import Backend, empty_batch
from agriseg.blend import LogitsAccumulator
from agriseg.errors import DeviceMemoryError, PredictionError
from agriseg.grid import Tile, Window, intersection
from agriseg.inference.band_arrays import BandArrays, upload
from agriseg.inference.classify import classify, probabilities
from agriseg.inference.malloc import release_heap
from agriseg.inference.plan import Plan, TileRowGroup
from agriseg.inference.stitch import StitchedRow, Stitcher
from agriseg.model import SegmentationModel
from agriseg.raster.reader import PixelStrip
from agriseg.storage.logits_cache import LogitsCache
from agriseg.timing.stages import Clock, Stage, untimed

LogitsObserver = Callable[[torch.Tensor, torch.Tensor, Window], None]
"""Gets the blended logits (K, h, w) and the validity (h, w) of a raster window; each valid pixel once."""


@dataclass(frozen=True)
class Observers:
    """Who follows the prediction; nothing here changes the map.

    Args:
        progress: called with each number of tiles that is done; skipped tiles count.
        logits: called with the blended logits.
        clock: of the stages.
    """

    progress: Callable[[int], None] = lambda _tiles: None
    logits: LogitsObserver | None = None
    clock: Clock = untimed


@dataclass(frozen=True)
class ClassifiedRows:
    """Finished rows of the map.

    Args:
        layers: name to (bands, h, w) uint8 over the columns of the mapped window.
        tiles: tiles that went through the network, in this run or an earlier one.
        carry: sums that the band below adds to.
        lost: windows of these rows, within the mapped window, whose pixels could not be read.
    """

    band: TileRowGroup
    layers: dict[str, NDArray[np.uint8]]
    tiles: int
    carry: LogitsAccumulator | None
    lost: tuple[Window, ...] = ()


class TilePredictor:
    """Maps the bands of a plan. It skips tiles without data, and halves the batch when the device lacks memory.

    Args:
        cache: keeps the logits of each tile; None keeps nothing.
    """

    def __init__(
        self, plan: Plan, model: SegmentationModel, backend: Backend, observers: Observers = Observers(),
        cache: LogitsCache | None = None,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._grid = plan.grid
        self._model = model
        self._backend = backend
        self._observers = observers
        self._clock = observers.clock
        self._cache = cache
        self._stitcher = Stitcher(plan, len(model.legend), backend.device)
        self.batch = plan.batch
        """Tiles per forward: those of the plan, or fewer if the memory of the device does not hold as many."""
        self.waits_per_band = backend.device.type != "cpu"
        """Whether logits are checked and kept at the end of a band instead of after each batch: a GPU stops when the
        host waits for its numbers. On a CPU a kill costs one batch at most."""
        self._unchecked: list[tuple[Tile, torch.Tensor, torch.Tensor]] = []  # logits on the host, whether finite

    def run(self, band: TileRowGroup, strip: PixelStrip, carry: LogitsAccumulator | None) -> ClassifiedRows:
        """Run the tiles of a band and classify its rows.

        Args:
            strip: the pixels of `plan.read_window(band)`.
            carry: of the band above; not used for a band `without_carry`.

        Raises:
            PredictionError: the logits of a tile hold NaN or infinity; the message names the tile.
            DeviceMemoryError: the memory of the device does not hold one tile.
        """
        start, tiles_run = band.rows[0], 0
        carry = None if band.without_carry else carry
        try:
            arrays = BandArrays(self._plan, band, strip, self._backend.device)
            for row in band.tiles:
                tiles = self._tiles_with_data(row, strip)
                if tiles is None:  # no pixel to classify here, and no sum here counts for a valid pixel below
                    carry = None
                else:
                    stitched = StitchedRow(self._stitcher, row, start, carry)
                    self._run_row(row, tiles, stitched, arrays)
                    carry = stitched.carry
                start = max(start, self._plan.row_stop(row))
                if row >= band.tiles.start + band.recomputed_rows:
                    tiles_run += len(tiles or ())
                    self._observers.progress(len(self._plan.tile_cols))
            self._check_and_keep()
            layers = arrays.finished()
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"{self._backend.device} has not enough memory for one tile of {self._grid.rows.tile} px; "
                "give a smaller --tile, or --device cpu"
            ) from error
        release_heap()
        return ClassifiedRows(band, layers, tiles_run, carry, self._lost(band, strip))

    def _run_row(self, row: int, with_data: list[Tile], stitched: StitchedRow, arrays: BandArrays) -> None:
        """Run the tiles of one row that hold data, and classify the pixels that become final."""
        logits: dict[Tile, torch.Tensor] = {}
        waiting = list(with_data)
        for tile in (self._grid[row, col] for col in self._plan.tile_cols):
            if tile in waiting:
                batch, waiting = waiting[: self._plan.batch], waiting[self._plan.batch :]
                logits = self._logits(batch, arrays)
            with self._clock(Stage.STITCH):
                final = stitched.add(tile, logits.get(tile))
            with self._clock(Stage.CLASSIFY):
                if final and arrays.any_valid(final):
                    self._classify(stitched, final, arrays)

    def _logits(self, tiles: list[Tile], arrays: BandArrays) -> dict[Tile, torch.Tensor]:
        """Logits (K, p, q) of tiles on the device: from the cache, or else from the network, as one batch."""
        with self._clock(Stage.KEEP):
            cached = {tile: self._cache.get(tile.row, tile.col) for tile in tiles} if self._cache else {}
        logits = {tile: upload(known, self._backend.device) for tile, known in cached.items() if known is not None}
        missing = [tile for tile in tiles if tile not in logits]
        while missing:
            batch = missing[: self.batch]
            if self._cache:
                self._cache.mark_running(batch[0])
            try:
                with self._clock(Stage.NORMALISE):
                    x = self._inputs(batch, arrays)
                with self._clock(Stage.NETWORK):
                    results = self._backend.logits(x)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self.batch = len(batch) // 2
                continue
            for tile, result in zip(batch, results, strict=True):
                host = result.to("cpu", non_blocking=True) if self._cache else result
                self._unchecked.append((tile, host, _all_finite(result)))
                logits[tile] = result
            if not self.waits_per_band:
                self._check_and_keep()
            missing = missing[len(batch) :]
        return logits

    def _check_and_keep(self) -> None:
        """Wait for the logits since the last call; check that they are finite, and put them into the cache."""
        waiting, self._unchecked = self._unchecked, []
        finite = torch.stack([each for _, _, each in waiting]).tolist() if waiting else []  # the only wait
        with self._clock(Stage.KEEP):
            for (tile, logits, _), is_finite in zip(waiting, finite, strict=True):
                if not is_finite:
                    raise PredictionError(f"the network gives NaN or infinity in {tile.window}; is the model damaged?")
                if self._cache:
                    self._cache.put(tile.row, tile.col, logits)

    def _inputs(self, tiles: list[Tile], arrays: BandArrays) -> torch.Tensor:
        """Normalised tiles (B, C, h, w); the mean where a pixel is not valid and beyond the raster."""
        shape = len(tiles), len(self._model.bands), self._grid.rows.length, self._grid.cols.length
        x, normalization = empty_batch(shape, self._backend.device), self._model.normalization
        for place, tile in zip(x, tiles, strict=True):
            inside = self._grid.without_padding(tile)
            stored = arrays.pixels[(slice(None), *inside.within(arrays.window))]
            place[:, : inside.height, : inside.width] = normalization(stored, arrays.valid_in(inside))
        return x

    def _classify(self, stitched: StitchedRow, window: Window, arrays: BandArrays) -> None:
        """Turn the blended logits of a raster window into layers."""
        logits = stitched.pixels(window)
        if self._observers.logits is not None:
            self._observers.logits(logits, arrays.valid_in(window), window)
        classes, confidence = classify(logits, self._model.temperature)
        arrays.put("classes", classes[None], window)
        arrays.put("confidence", confidence[None], window)
        if "probabilities" in arrays.layers:
            arrays.put("probabilities", probabilities(logits, self._model.temperature), window)

    def _tiles_with_data(self, row: int, strip: PixelStrip) -> list[Tile] | None:
        """Tiles of a row whose logits count for a valid pixel; None if no pixel under the row is valid."""
        rows, cols = self._grid.rows, self._grid.cols
        top = rows.origin(row)
        if not self._any_valid(strip, (top, top + rows.length), (0, cols.padded)):
            return None
        footprint = rows.footprint(row)
        return [
            self._grid[row, col]
            for col in self._plan.tile_cols
            if self._any_valid(strip, footprint, cols.footprint(col))
        ]

    def _any_valid(self, strip: PixelStrip, rows: tuple[int, int], cols: tuple[int, int]) -> bool:
        """Whether there is a valid pixel in a rectangle or half a cell around it."""
        reach = self._grid.stride // 2
        sides = (rows, strip.window.row_off), (cols, strip.window.col_off)
        down, across = (slice(max(0, low - reach - off), high + reach - off) for (low, high), off in sides)
        return bool(strip.valid[down, across].any())

    def _lost(self, band: TileRowGroup, strip: PixelStrip) -> tuple[Window, ...]:
        """Windows of the rows of a band that could not be read."""
        if not strip.lost or band.rows[0] == band.rows[1]:
            return ()
        roi = self._plan.roi
        decided = Window(roi.col_off, band.rows[0], roi.width, band.rows[1] - band.rows[0])
        return tuple(part for each in strip.lost if (part := intersection(each, decided)))


def _all_finite(logits: torch.Tensor) -> torch.Tensor:
    """Whether all logits are finite, a bool on their device: the extremes say so, and take a tenth of the time."""
    return torch.isfinite(torch.stack(torch.aminmax(logits))).all()
