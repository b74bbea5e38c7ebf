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
from agriseg.inference.classify import classify, probabilities
from agriseg.inference.malloc import release_heap
from agriseg.inference.plan import Plan, TileRowGroup
from agriseg.inference.stitch import StitchedRow, Stitcher
from agriseg.legend import NODATA
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
            arrays = _BandArrays(self._plan, band, strip, self._backend.device)
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
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"{self._backend.device} has not enough memory for one tile of {self._grid.rows.tile} px; "
                "give a smaller --tile, or --device cpu"
            ) from error
        release_heap()
        return ClassifiedRows(band, arrays.layers, tiles_run, carry, self._lost(band, strip))

    def _run_row(self, row: int, with_data: list[Tile], stitched: StitchedRow, arrays: "_BandArrays") -> None:
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
                if final and arrays.valid_in(final).any():
                    self._classify(stitched.pixels(final), final, arrays)

    def _logits(self, tiles: list[Tile], arrays: "_BandArrays") -> dict[Tile, torch.Tensor]:
        """Logits (K, p, q) of tiles on the device: from the cache, or else from the network, as one batch."""
        with self._clock(Stage.KEEP):
            cached = {tile: self._cache.get(tile.row, tile.col) for tile in tiles} if self._cache else {}
        logits = {tile: known.to(self._backend.device) for tile, known in cached.items() if known is not None}
        missing = [tile for tile in tiles if tile not in logits]
        while missing:
            batch = missing[: self.batch]
            if self._cache:
                self._cache.mark_running(batch[0])
            try:
                results = self._network(batch, arrays)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self.batch = len(batch) // 2
                continue
            for tile, result in zip(batch, results, strict=True):
                if not torch.isfinite(result).all():
                    raise PredictionError(f"the network gives NaN or infinity in {tile.window}; is the model damaged?")
                with self._clock(Stage.KEEP):
                    if self._cache:
                        self._cache.put(tile.row, tile.col, result)
                logits[tile] = result
            missing = missing[len(batch) :]
        return logits

    def _network(self, tiles: list[Tile], arrays: "_BandArrays") -> torch.Tensor:
        """Logits (B, K, p, q) of tiles, from the network."""
        with self._clock(Stage.NORMALISE):
            x = self._inputs(tiles, arrays)
        with self._clock(Stage.NETWORK):
            return self._backend.logits(x)

    def _inputs(self, tiles: list[Tile], arrays: "_BandArrays") -> torch.Tensor:
        """Normalised tiles (B, C, h, w); the mean where a pixel is not valid and beyond the raster."""
        shape = len(tiles), len(self._model.bands), self._grid.rows.length, self._grid.cols.length
        x = empty_batch(shape, self._backend.device)
        for place, tile in zip(x, tiles, strict=True):
            inside = self._grid.without_padding(tile)
            part = inside.within(arrays.window)
            place[:, : inside.height, : inside.width] = self._model.normalization(
                arrays.pixels[(slice(None), *part)], arrays.valid[part]
            )
        return x

    def _classify(self, logits: torch.Tensor, window: Window, arrays: "_BandArrays") -> None:
        """Turn blended logits of a raster window into layers."""
        if self._observers.logits is not None:
            self._observers.logits(logits, arrays.valid_in(window), window)
        classes, confidence, denominator = classify(logits, self._model.temperature)
        arrays.put("classes", classes[None], window)
        arrays.put("confidence", confidence[None], window)
        if "probabilities" in arrays.layers:
            arrays.put("probabilities", probabilities(logits, self._model.temperature, denominator), window)

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


class _BandArrays:
    """The pixels of a band on the device, and its layers on the host: nodata until they are put."""

    def __init__(self, plan: Plan, band: TileRowGroup, strip: PixelStrip, device: torch.device) -> None:
        height, width = band.rows[1] - band.rows[0], plan.roi.width
        self.window = strip.window
        self.pixels = torch.from_numpy(strip.pixels).to(device)
        self.valid = torch.from_numpy(strip.valid).to(device)
        self.layers = {name: np.full((bands, height, width), NODATA, np.uint8) for name, bands in plan.layers.items()}
        self._row_off, self._col_off = band.rows[0], plan.roi.col_off

    def valid_in(self, window: Window) -> torch.Tensor:
        """Validity (h, w) bool of a raster window."""
        return self.valid[window.within(self.window)]

    def put(self, name: str, values: torch.Tensor, window: Window) -> None:
        """Set (bands, h, w) uint8 values of a layer; nodata where a pixel is not valid."""
        row, col = window.row_off - self._row_off, window.col_off - self._col_off
        place = self.layers[name][:, row : row + window.height, col : col + window.width]
        place[:] = values.masked_fill_(~self.valid_in(window), NODATA).cpu().numpy()
