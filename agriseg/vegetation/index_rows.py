"""A vegetation index of a raster, row by row, and its statistics."""

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.reader import Reader, Source
from agriseg.raster.safe_open import open_raster
from agriseg.vegetation.formulas import Index, compute
from agriseg.vegetation.reflectance import Units

_PIXELS = 2**20  # worked on at once: 8 MB for each array of a formula
_ROWS = 512  # of a finished file that are read at once; a row of its blocks
_SAMPLE = 2**22  # pixels that quantiles are computed from
_QUANTILES = (0.02, 0.5, 0.98)


@dataclass(frozen=True)
class IndexRows:
    """An index as a layer's rows; `raster.cog.Rows`.

    Args:
        source: the raster's own grid, with the bands of the index in its order.
        thread: reads the raster. GDAL's warnings belong to a thread, and a warning about the raster is no failure of
            the file that is written meanwhile.
    """

    reader: Reader
    source: Source
    thread: Executor
    index: Index
    units: Units
    bands: int = 1
    dtype: str = "float32"
    nodata: float = float("nan")

    @property
    def height(self) -> int:
        """Rows."""
        return self.source.height

    @property
    def width(self) -> int:
        """Columns."""
        return self.source.width

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows `[start, stop)`, (1, stop - start, width) float32; NaN where there is no data or no result.

        Raises:
            DataError: a stored block cannot be decoded.
        """
        strip = self.thread.submit(self.reader.read, Window(0, start, self.width, stop - start)).result()
        values = np.full((1, stop - start, self.width), np.nan, np.float32)
        at_once = max(1, _PIXELS // self.width)
        for top in range(0, stop - start, at_once):
            rows = slice(top, top + at_once)
            if (valid := strip.valid[rows]).any():
                bands = zip(self.index.roles, self.units(strip.pixels[:, rows]), strict=True)
                values[0, rows] = np.where(valid, compute(self.index, dict(bands)), np.nan)
        return values


@dataclass(frozen=True)
class Summary:
    """Statistics of an index.

    Args:
        nodata: share of pixels without a number, 0 to 1.
        minimum, maximum: of all pixels.
        low, median, high: quantiles 2 %, 50 % and 98 %; of a sample if there are more than `_SAMPLE` pixels.
    """

    nodata: float
    minimum: float
    low: float
    median: float
    high: float
    maximum: float

    @classmethod
    def of(cls, path: Path) -> "Summary | None":
        """Of a finished index; None if no pixel has a number."""
        with open_raster(path) as dataset:
            pixels = dataset.width * dataset.height
            step = math.ceil(math.sqrt(pixels / _SAMPLE))
            count, ends, sample = 0, [math.inf, -math.inf], [np.empty(0, np.float32)]
            for start, rows in _strips(dataset):
                numbers = rows[np.isfinite(rows)]
                if numbers.size:
                    count += numbers.size
                    ends = [min(ends[0], float(numbers.min())), max(ends[1], float(numbers.max()))]
                    thinned = rows[-start % step :: step, ::step]
                    sample.append(thinned[np.isfinite(thinned)])
        if not count:
            return None
        spread = np.concatenate(sample)
        low, median, high = np.quantile(spread if spread.size else ends, _QUANTILES, method="inverted_cdf").tolist()
        return cls((pixels - count) / pixels, ends[0], low, median, high, ends[1])


def _strips(dataset: rasterio.DatasetReader) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """First row and numbers (h, width) of strips of the only band, from top to bottom."""
    for start in range(0, dataset.height, _ROWS):
        window = rasterio.windows.Window(0, start, dataset.width, min(_ROWS, dataset.height - start))
        with gdal_calls(f"{dataset.name}: rows from {start} cannot be read; check the disk"):
            yield start, dataset.read(1, window=window)
