"""The raster that is labelled: its bands, its statistics, and where tiles and blocks lie on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.grid import Window, intersection
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader, Source

BLOCK = 512
"""Side of the blocks whose features are kept (px)."""
TILE = 256
"""Side of a tile of the page (screen px)."""
_PATCHES, _PATCH = 8, 128  # patches a side of the raster, and their side (px)
_LOW, _HIGH = 2.0, 98.0  # percentiles shown as black and white


@dataclass(frozen=True)
class Statistics:
    """Of the valid pixels of a sample of the raster, per used band, in stored numbers.

    Args:
        low, high: 2nd and 98th percentile.
        mean, std: mean and standard deviation; a band of one number has deviation 1.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def of(cls, source: Source) -> "Statistics":
        """Read patches on a lattice; DataError if none of their pixels is valid, or one cannot be read."""
        with Reader(source) as reader:
            strips = [reader.read(window) for window in sample_windows(source.width, source.height)]
        pixels = np.concatenate([strip.pixels[:, strip.valid] for strip in strips], axis=1).astype(np.float64)
        if not pixels.size:
            raise DataError(f"{source.info.path}: no data in a sample of it; is its nodata value right?")
        low, high = np.percentile(pixels, (_LOW, _HIGH), axis=1)
        std = pixels.std(1)
        return cls(low, high, pixels.mean(1), np.where(std > 0, std, 1.0))


def sample_windows(width: int, height: int) -> list[Window]:
    """Patches on a lattice over a raster of so many columns and rows."""
    cols, rows = (
        np.unique(np.linspace(0, max(0, side - _PATCH), _PATCHES).astype(int)).tolist() for side in (width, height)
    )
    return [Window(col, row, min(_PATCH, width), min(_PATCH, height)) for row in rows for col in cols]


@dataclass(frozen=True)
class Field:
    """A raster and how it is shown.

    Args:
        source: on its own grid, bands in the order of the network.
        shown: places in these bands of red, green and blue.
    """

    source: Source
    roles: tuple[str, ...]
    shown: tuple[int, int, int]
    statistics: Statistics

    @property
    def info(self) -> RasterInfo:
        """The header."""
        return self.source.info

    @property
    def extent(self) -> Window:
        """All of it."""
        return Window(0, 0, self.info.width, self.info.height)

    @property
    def factors(self) -> tuple[int, ...]:
        """Raster pixels a side of a tile's pixel, powers of two; with the last, all of it is one screen."""
        count = max(0, int(np.ceil(np.log2(max(self.info.width, self.info.height) / (3 * TILE)))))
        return tuple(2**power for power in range(count + 1))

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.info.height // BLOCK), -(-self.info.width // BLOCK)

    def tile(self, factor: int, col: int, row: int) -> Window | None:
        """The pixels of a tile, as far as they lie on the raster; None without any."""
        side = TILE * factor
        return intersection(Window(col * side, row * side, side, side), self.extent)

    def block(self, row: int, col: int) -> Window:
        """The pixels of a block, as far as they lie on the raster."""
        found = intersection(Window(col * BLOCK, row * BLOCK, BLOCK, BLOCK), self.extent)
        if found is None:
            raise DataError(f"{self.info.path}: no block {row}, {col}")
        return found

    def blocks_of(self, window: Window) -> list[tuple[int, int]]:
        """Row and column of the blocks that a window touches, as far as it lies on the raster."""
        inside = intersection(window, self.extent)
        if inside is None:
            return []
        rows = range(inside.row_off // BLOCK, (inside.row_stop - 1) // BLOCK + 1)
        cols = range(inside.col_off // BLOCK, (inside.col_stop - 1) // BLOCK + 1)
        return [(row, col) for row in rows for col in cols]
