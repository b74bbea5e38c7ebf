"""Tiles of the raster for the page: from its overviews, its pixels, or a picture of all of it, made meanwhile."""

import io
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agriseg.figures.cell_means import CellGrid, CellMeans
from agriseg.grid import Window
from agriseg.labelling.field import TILE, Field
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.safe_open import open_raster

_DIRECT = 8
"""Factor up to which a tile is made of its own pixels where the raster has no overview."""
_STRIP = 64  # rows of the picture of all that are made at once
_SMALL = 64_000_000  # pixels of a raster that is shown whole from the start
_QUALITY = 88  # of JPEG


@dataclass(frozen=True)
class SquareCells(CellGrid):
    """Cells of `factor` pixels a side; those at the end of the window may be smaller."""

    factor: int

    @classmethod
    def of(cls, window: Window, factor: int) -> "SquareCells":
        """Those of a window."""
        return cls(window, -(-window.height // factor), -(-window.width // factor), factor)

    @property
    def rows(self) -> NDArray[np.intp]:
        """First rows of the cells, and the end of the last."""
        return np.minimum(self.window.row_off + np.arange(self.height + 1) * self.factor, self.window.row_stop)

    @property
    def cols(self) -> NDArray[np.intp]:
        """The same of columns."""
        return np.minimum(self.window.col_off + np.arange(self.width + 1) * self.factor, self.window.col_stop)


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its media type."""

    content: bytes
    media_type: str


class ImageTiles:
    """Makes tiles of a field; threads may share it. `close` ends the reading ahead."""

    def __init__(self, field: Field) -> None:
        self._field = field
        with open_raster(field.info.path) as dataset:
            self._overviews = frozenset(dataset.overviews(1))
        self._whole = CellMeans.zeros(3, 0, 0)
        self._ready, self._stopped = threading.Event(), threading.Event()
        self._reading: threading.Thread | None = None
        self._failure: Exception | None = None
        if any(self._needs_whole(factor) for factor in field.factors):
            self._reading = threading.Thread(target=self._read_whole, name="overview", daemon=True)
            self._reading.start()

    def close(self) -> None:
        """Stop reading ahead."""
        self._stopped.set()
        if self._reading:
            self._reading.join()

    @property
    def first_factor(self) -> int:
        """The coarsest factor whose tiles are there at once."""
        info = self._field.info
        small = info.width * info.height <= _SMALL
        return max(each for each in self._field.factors if small or not self._needs_whole(each))

    def picture(self, factor: int, col: int, row: int) -> Picture | None:
        """A tile; None outside the raster. It waits for the picture of all where it is made of that.

        Raises:
            DataError: the raster cannot be read there.
        """
        window = self._field.tile(factor, col, row)
        if window is None:
            return None
        return self._encoded(self._means(factor, window))

    def _means(self, factor: int, window: Window) -> CellMeans:
        size = -(-window.height // factor), -(-window.width // factor)
        if factor in self._overviews:
            return self._from_overview(window, size)
        if not self._needs_whole(factor):
            cells = SquareCells.of(window, factor)
            return cells.read(self._field.source, self._field.shown, range(size[0]))
        self._ready.wait()
        if self._failure:
            raise self._failure
        step = factor // self._whole_factor
        rows = slice(window.row_off // self._whole_factor, None)
        cols = slice(window.col_off // self._whole_factor, None)
        part = CellMeans(self._whole.means[:, rows, cols], self._whole.valid[rows, cols])
        shown = slice(0, size[0] * step, step), slice(0, size[1] * step, step)
        return CellMeans(part.means[(slice(None), *shown)], part.valid[shown])

    def _needs_whole(self, factor: int) -> bool:
        return factor > _DIRECT and factor not in self._overviews

    @property
    def _whole_factor(self) -> int:
        return min(factor for factor in self._field.factors if self._needs_whole(factor))

    def _read_whole(self) -> None:
        """Read all of the raster, strip by strip, to a picture of it."""
        grid = SquareCells.of(self._field.extent, self._whole_factor)
        height, made = grid.height, CellMeans.zeros(3, grid.height, grid.width)
        try:
            for start in range(0, height, _STRIP):
                if self._stopped.is_set():
                    return
                rows = range(start, min(start + _STRIP, height))
                made.put(start, grid.read(self._field.source, self._field.shown, rows))
            self._whole = made
        except Exception as error:  # noqa: BLE001  (told by the request of a tile)
            self._failure = error
        finally:
            self._ready.set()

    def _from_overview(self, window: Window, size: tuple[int, int]) -> CellMeans:
        source = self._field.source
        wanted = sorted({*(source.bands[each] for each in self._field.shown), *source.bands, *source.rule.alpha})
        box = ((window.row_off, window.row_stop), (window.col_off, window.col_stop))
        with gdal_calls(f"{source.info.path}: {window} cannot be read"), open_raster(source.info.path) as dataset:
            stored = dict(zip(wanted, dataset.read(wanted, window=box, out_shape=(len(wanted), *size)), strict=True))
            mask = dataset.read_masks(1, window=box, out_shape=size) if source.rule.file_mask else None
        pixels = np.stack([stored[source.bands[each]] for each in self._field.shown])
        return CellMeans(pixels.astype(np.float32), source.rule(stored, source.bands, mask))

    def _encoded(self, cells: CellMeans) -> Picture:
        low, high = (
            each[list(self._field.shown), None, None]
            for each in (self._field.statistics.low, self._field.statistics.high)
        )
        shown = np.clip((cells.means - low) / np.maximum(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
        whole = cells.valid.shape == (TILE, TILE) and bool(cells.valid.all())
        return _jpeg(shown) if whole else _png(shown, cells.valid)


def _jpeg(shown: NDArray[np.uint8]) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0))).save(buffer, "JPEG", quality=_QUALITY)
    return Picture(buffer.getvalue(), "image/jpeg")


def _png(shown: NDArray[np.uint8], valid: NDArray[np.bool_]) -> Picture:
    """A whole tile, transparent without data and beyond the raster."""
    tile = np.zeros((TILE, TILE, 4), np.uint8)
    height, width = valid.shape
    tile[:height, :width, :3] = np.where(valid, shown, 0).transpose(1, 2, 0)
    tile[:height, :width, 3] = np.where(valid, 255, 0)
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "PNG", compress_level=1)
    return Picture(buffer.getvalue(), "image/png")
