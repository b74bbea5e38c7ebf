"""A vegetation index of a raster, row by row, and what its numbers are."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.grid import Window
from agriseg.indices import Index, compute
from agriseg.layers.quantiles import quantiles
from agriseg.raster.door import open_raster
from agriseg.raster.gdal import gdal_calls
from agriseg.raster.reader import Reader, Source
from agriseg.sensors import Sensor

_PIXELS = 2**20  # worked on at once: 8 MB for each array of a formula
_ROWS = 512  # of a finished file that are read at once; a row of its blocks
_BRIGHTEST = 10.0  # reflectance that nothing has, glint and clouds included
_EIGHT_BIT = 1 / 255  # what is left to take for the scale of 8-bit numbers


@dataclass(frozen=True)
class IndexRows:
    """An index as a layer's rows; `raster.cog.Rows`.

    Args:
        reader: of the source.
        source: the raster's own grid, with the bands of the index in its order.
        thread: in which is read. GDAL's warnings are told apart by threads, and what it says of the raster is no
            failure of the file that is written meanwhile.
        index: which.
        scale: reflectance of one count.
    """

    reader: Reader
    source: Source
    thread: Executor
    index: Index
    scale: float
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
                values[0, rows] = np.where(valid, self._computed(strip.pixels[:, rows]), np.nan)
        return values

    def _computed(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        reflectance = pixels.astype(np.float64) * self.scale
        return compute(self.index, dict(zip(self.index.roles, reflectance, strict=True)))


def value_scale(index: Index, dtype: str, given: float | None, sensor: Sensor | None) -> float:
    """Reflectance of one count of the stored numbers.

    Args:
        index: that will be made of them.
        dtype: of the numbers.
        given: by the user; it is believed.
        sensor: the user's camera, whose scale is of 16-bit numbers.

    Raises:
        DataError: the index needs reflectance, and nothing says how to get it.
    """
    if given is not None:
        return given
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return 1.0
    if dtype == "uint8":
        return _EIGHT_BIT
    if sensor is not None and sensor.scale is not None and kind.itemsize == 2:
        return sensor.scale
    if index.kind == "ratio":
        return 1.0
    raise DataError(
        f"{index.name} needs reflectances 0 to 1, the file holds {dtype} and nothing says their scale; give "
        "--scale, such as 0.0001 where 10000 is all light, or a --sensor that has one"
    )


def doubts(index: Index, dtype: str, highest: float, scale: float, *, given: bool) -> list[str]:
    """What a reader should know before trusting an index of these numbers.

    Args:
        index: which.
        dtype: of the stored numbers.
        highest: of them, as far as was looked.
        scale: reflectance of one count.
        given: whether the user has said the scale.

    Raises:
        DataError: the numbers are no reflectance, the index needs such, and the user has not said the scale.
    """
    if dtype == "uint8" and not given and (index.kind == "additive" or {"nir", "red_edge"} & {*index.roles}):
        return [
            f"{index.name} is made for reflectance, and 8-bit numbers are mostly stretched for display: "
            "compare within this image only, not with other days or thresholds"
        ]
    if index.kind == "ratio" or highest * scale <= _BRIGHTEST:
        return []
    text = f"{index.name} needs reflectances 0 to 1, the numbers go up to {highest:g} and their scale is {scale:g}"
    if not given:
        raise DataError(f"{text}; say it with --scale, such as 0.0001 where 10000 is all light")
    return [text]


@dataclass(frozen=True)
class Summary:
    """What the numbers of an index are.

    Args:
        nodata: share of pixels without a number, 0 to 1.
        minimum, low, median, high, maximum: low and high are the ends of the middle 96 %.
    """

    nodata: float
    minimum: float
    low: float
    median: float
    high: float
    maximum: float

    @classmethod
    def of(cls, path: Path) -> "Summary | None":
        """Of all pixels of a finished index; None if none has a number."""
        with open_raster(path) as dataset:
            count, found = quantiles(lambda: _parts(dataset), (0, 0.02, 0.5, 0.98, 1))
            pixels = dataset.width * dataset.height
            return cls((pixels - count) / pixels, *found) if count else None

    def as_dict(self) -> Mapping[str, float]:
        """As JSON values."""
        return vars(self)


def _parts(dataset: rasterio.DatasetReader) -> Iterator[NDArray[np.float32]]:
    for start in range(0, dataset.height, _ROWS):
        window = rasterio.windows.Window(0, start, dataset.width, min(_ROWS, dataset.height - start))
        with gdal_calls(f"{dataset.name}: rows from {start} cannot be read; check the disk"):
            rows: NDArray[np.float32] = dataset.read(1, window=window)
        yield rows
