"""Windows of a raster, with their validity, on the grid that the engine works on.

Overviews are never read: without reading the raster nothing shows whether they are means of it, and of its mask.
"""

import math
import mmap
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.grid import Window, intersection
from agriseg.raster.gdal_env import gdal_calls, grow_block_cache
from agriseg.raster.georeference import Georeference
from agriseg.raster.header import RasterInfo
from agriseg.raster.resample import ResampleWeights, resample
from agriseg.raster.safe_open import open_raster
from agriseg.raster.valid_mask import ValidityRule

_AT_ONCE = 16_000_000  # pixels
_CHUNK_BYTES = 64 * 2**20  # of source pixels resampled at once, as float64


@dataclass(frozen=True)
class Source:
    """What to read: a raster, the bands in the model's order, the rule of validity, the working grid.

    Args:
        bands: numbers from 1.
        rule: which pixels are data.
        width, height: pixels of the working grid; it covers the same ground as the raster.
        salvage: whether a stored block that cannot be decoded counts as lost, instead of raising an error.
    """

    info: RasterInfo
    bands: tuple[int, ...]
    rule: ValidityRule
    width: int
    height: int
    salvage: bool = False

    @property
    def native(self) -> bool:
        """Whether the working grid is the raster's own."""
        return (self.width, self.height) == (self.info.width, self.info.height)

    @property
    def item_bytes(self) -> int:
        """Bytes of one pixel of one band as `Reader.read` returns it."""
        return self.info.item_bytes if self.native else 4

    @property
    def georeference(self) -> Georeference:
        """The georeference of the working grid."""
        return self.info.georeference.shifted(0, 0, self.info.width / self.width, self.info.height / self.height)


@dataclass(frozen=True)
class PixelStrip:
    """Pixels of a window.

    Args:
        window: in the working grid.
        pixels: (C, h, w), stored type, or float32 when resampled; bands in the model's order.
        valid: (h, w) bool, True is data.
        lost: windows of the working grid, within this one, that could not be read; nothing there is valid.
    """

    window: Window
    pixels: NDArray[np.generic]
    valid: NDArray[np.bool_]
    lost: tuple[Window, ...] = ()


class Reader:
    """Reads windows of a source, one thread at a time; a context manager of the open file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._dataset = open_raster(source.info.path)
        grow_block_cache(source.info.cache_bytes)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset.close()

    def read(self, window: Window) -> PixelStrip:
        """Read a window of the working grid; DataError if a block cannot be decoded and the source does not salvage."""
        source = self._source
        if source.native:
            pixels, valid, lost = self._stored(window)
            return PixelStrip(window, pixels, valid, lost)
        resampled = np.empty((len(source.bands), window.height, window.width), np.float32)
        known = np.empty((window.height, window.width), bool)
        holes: list[Window] = []
        cols = ResampleWeights(self._dataset.width, source.width, window.col_off, window.col_stop)
        at_once = self._rows_at_once(cols)
        for start in range(window.row_off, window.row_stop, at_once):
            stop = min(start + at_once, window.row_stop)
            rows = ResampleWeights(self._dataset.height, source.height, start, stop)
            part = slice(start - window.row_off, stop - window.row_off)
            (top, bottom), (left, right) = rows.span, cols.span
            pixels, valid, lost = self._stored(Window(left, top, right - left, bottom - top))
            resampled[:, part], known[part] = resample(pixels, valid, rows, cols)
            holes += [hole for each in lost if (hole := intersection(self._worked(each), window))]
        for hole in holes:
            known[hole.within(window)] = False
        return PixelStrip(window, resampled, known, tuple(dict.fromkeys(holes)))

    def _stored(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_], tuple[Window, ...]]:
        """Pixels (C, h, w) and validity (h, w) of a window of the opened file, and what of it is lost."""
        with self._lock:
            try:
                return *self._decoded(window), ()
            except DataError:
                if not self._source.salvage:
                    raise
            return self._salvaged(window)

    def _salvaged(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_], tuple[Window, ...]]:
        """The same block by block, without those that cannot be decoded.

        After an error a second read of an open file may return garbage, so each block opens the file again.
        """
        pixels = np.zeros((len(self._source.bands), window.height, window.width), self._source.info.dtype)
        valid, lost = np.zeros((window.height, window.width), bool), []
        for block in _blocks(self._dataset.block_shapes[0], window):
            self._dataset.close()
            self._dataset = open_raster(self._source.info.path)
            place = block.within(window)
            try:
                pixels[(slice(None), *place)], valid[place] = self._decoded(block)
            except DataError:
                lost.append(block)
        self._dataset.close()
        self._dataset = open_raster(self._source.info.path)
        return pixels, valid, tuple(lost)

    def _decoded(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Pixels and validity of a window of the opened file."""
        source, rule = self._source, self._source.rule
        wanted = sorted({*source.bands, *rule.alpha})
        box = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
        failure = f"{source.info.path}: {window} cannot be read, the file is damaged there; copy it again"
        with gdal_calls(failure) as messages:
            stored = _own_pages((len(wanted), window.height, window.width), source.info.dtype)
            self._dataset.read(wanted, window=box, out=stored)
            mask = self._dataset.read_masks(1, window=box) if rule.file_mask else None
        # A JPEG block cut short decodes to grey, with only a warning. Warnings of the header come again.
        if damage := [text for text in messages if text not in source.info.notes]:
            raise DataError(f"{failure} ({'; '.join(damage)})")
        by_number = dict(zip(wanted, stored, strict=True))
        valid = rule(by_number, source.bands, mask)
        same = list(source.bands) == wanted
        return stored if same else np.stack([by_number[band] for band in source.bands]), valid

    def _worked(self, stored: Window) -> Window:
        """The working grid's pixels that a window of the opened file touches."""
        across, down = self._source.width / self._dataset.width, self._source.height / self._dataset.height
        left, top = int(stored.col_off * across), int(stored.row_off * down)
        right = min(self._source.width, math.ceil(stored.col_stop * across))
        bottom = min(self._source.height, math.ceil(stored.row_stop * down))
        return Window(left, top, right - left, bottom - top)

    def _rows_at_once(self, cols: ResampleWeights) -> int:
        """Output rows whose source pixels fit into `_CHUNK_BYTES`."""
        first, last = cols.span
        row = (last - first) * (len(self._source.bands) + 1) * 8 * max(1.0, self._dataset.height / self._source.height)
        return max(1, int(_CHUNK_BYTES / row))


def strips(width: int, height: int) -> Iterator[Window]:
    """A whole raster in strips of bounded size, from the top."""
    rows = max(1, _AT_ONCE // width)
    for top in range(0, height, rows):
        yield Window(0, top, width, min(rows, height - top))


def _own_pages(shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    """An array whose memory goes back to the system, instead of leaving holes in the heap of a thread."""
    count = int(np.prod(shape))
    pages = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize))
    return np.frombuffer(pages, dtype, count).reshape(shape)


def _blocks(shape: tuple[int, int], window: Window) -> Iterator[Window]:
    """The parts of a window that lie in one stored block each; `shape` is rows and columns of a block."""
    for top in range(window.row_off // shape[0] * shape[0], window.row_stop, shape[0]):
        for left in range(window.col_off // shape[1] * shape[1], window.col_stop, shape[1]):
            if part := intersection(Window(left, top, shape[1], shape[0]), window):
                yield part
