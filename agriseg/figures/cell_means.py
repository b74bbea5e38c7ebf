"""Means of an image over the cells of a small picture; strips of rows in any division give the same numbers."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.raster.reader import PixelStrip, Reader, Source

_STRIP_PIXELS = 2**22  # of the image read at once
_UINT16_ROWS = 257  # rows of uint8 whose sum fits into 16 bits


@dataclass(frozen=True)
class CellMeans:
    """Means of rows of cells.

    Args:
        means: (C, h, w) float32, over the valid pixels of each cell; 0 where there are none.
        valid: (h, w) bool, whether a cell has any.
    """

    means: NDArray[np.float32]
    valid: NDArray[np.bool_]

    @classmethod
    def zeros(cls, bands: int, height: int, width: int) -> "CellMeans":
        """Cells without a valid pixel."""
        return cls(np.zeros((bands, height, width), np.float32), np.zeros((height, width), bool))

    def put(self, start: int, rows: "CellMeans") -> None:
        """Replace the rows of cells from `start` by others."""
        part = slice(start, start + len(rows.valid))
        self.means[:, part], self.valid[part] = rows.means, rows.valid


@dataclass(frozen=True)
class CellGrid:
    """Cells that divide a window of the working grid into `height` rows and `width` columns."""

    window: Window
    height: int
    width: int

    @property
    def rows(self) -> NDArray[np.intp]:
        """First rows of the cells, and the end of the last; of the working grid."""
        return self.window.row_off + np.arange(self.height + 1) * self.window.height // self.height

    @property
    def cols(self) -> NDArray[np.intp]:
        """The same of columns."""
        return self.window.col_off + np.arange(self.width + 1) * self.window.width // self.width

    def means(self, strip: PixelStrip, bands: tuple[int, ...], cells: range) -> CellMeans:
        """Means of some rows of cells, whose pixels the strip holds; `bands` are places in the strip."""
        rows, cols = self.rows - strip.window.row_off, self.cols - strip.window.col_off
        inside, starts = slice(cols[0], cols[-1]), cols[:-1] - cols[0]
        made = CellMeans.zeros(len(bands), len(cells), self.width)
        for place, cell in enumerate(cells):
            part = slice(rows[cell], rows[cell + 1])
            valid = strip.valid[part, inside]
            hidden = None if valid.all() else ~valid
            count = len(valid) * np.diff(cols) if hidden is None else _summed(valid.view(np.uint8), starts)
            made.valid[place] = count > 0
            for mean, band in zip(made.means, bands, strict=True):
                values = strip.pixels[band, part, inside]
                shown = values if hidden is None else np.where(hidden, 0, values)
                mean[place] = _summed(shown, starts) / np.maximum(count, 1)
        return made

    def read(self, source: Source, bands: tuple[int, ...], cells: range) -> CellMeans:
        """Means of some rows of cells, from the raster; DataError as `Reader.read`."""
        shown, rows = replace(source, bands=tuple(source.bands[band] for band in bands)), self.rows
        at_once = max(1, _STRIP_PIXELS // self.window.width * self.height // self.window.height)
        made = CellMeans.zeros(len(bands), len(cells), self.width)
        with Reader(shown) as reader:
            for start in cells[::at_once]:
                portion = range(start, min(start + at_once, cells.stop))
                top, bottom = int(rows[start]), int(rows[portion.stop])
                strip = reader.read(replace(self.window, row_off=top, height=bottom - top))
                made.put(start - cells.start, self.means(strip, tuple(range(len(bands))), portion))
        return made


def _summed(values: NDArray[Any], starts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sums over all rows, and over the columns from each start to the next; exact for integers of up to 32 bits.

    Rows are summed first, in 16 bits where those hold the sum: `reduceat` of all rows takes several times as long.
    """
    small = values.dtype == np.uint8 and len(values) <= _UINT16_ROWS
    total = values.sum(0, dtype=np.uint16 if small else np.float64)
    return np.asarray(np.add.reduceat(total.astype(np.float64), starts))
