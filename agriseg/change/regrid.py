"""Resampling of one raster to the grid of another: positions of pixels, and grey images."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import CRSError
from rasterio.warp import transform as warp
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import map_coordinates

from agriseg.errors import DataError
from agriseg.grid import Window
from agriseg.raster.gdal_env import GDAL_ERRORS
from agriseg.raster.georeference import Georeference, crs_name
from agriseg.raster.reader import Reader, Source

_STEP = 64  # px between positions that are transformed to another CRS; interpolation between them errs by 0.01 px
_UPRIGHT = 1e-12  # rows per column, and columns per row, below which a grid counts as upright
_SLACK = 1e-6  # px that rounding may add to a grid
_WHOLE = 0.999  # weight of valid pixels around a place where it counts as valid

Places = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Rows and columns in pixels; the centre of a pixel has its whole number."""


@dataclass(frozen=True)
class GridTransform:
    """The way from pixels of one grid to pixels of another; both have a CRS, or both have none and share a plane."""

    here: Georeference
    there: Georeference

    def at(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> Places:
        """Positions of this grid on the other, in arrays of one shape; not finite where the other does not reach.

        Raises:
            DataError: one CRS cannot be transformed to the other.
        """
        x, y = self.here.transform @ (cols + 0.5, rows + 0.5)
        if self.here.crs != self.there.crs:
            try:
                away = warp(self.here.crs, self.there.crs, x.ravel().tolist(), y.ravel().tolist())
            except (CRSError, *GDAL_ERRORS) as error:
                raise DataError(
                    f"no way from {_name(self.here)} to {_name(self.there)}; warp one to the other"
                ) from error
            x, y = (np.array(axis).reshape(rows.shape) for axis in away)
        col, row = ~self.there.transform @ (x, y)
        return row - 0.5, col - 0.5

    def cross(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> Places:
        """Rows and columns (h, w) of the other grid for consecutive rows (h,) and consecutive columns (w,).

        They are (h, 1) and (1, w) if both grids are upright in one CRS.

        Raises:
            DataError: as `at`, or a position has none on the other grid.
        """
        if self.here.crs == self.there.crs:
            a, b, c, d, e, f = (~self.there.transform @ self.here.transform)[:6]
            col, row = cols[None] + 0.5, rows[:, None] + 0.5
            if max(abs(b), abs(d)) < _UPRIGHT:
                return e * row + f - 0.5, a * col + c - 0.5
            return d * col + e * row + f - 0.5, a * col + b * row + c - 0.5
        knots = [_STEP * np.arange(axis[0] // _STEP, axis[-1] // _STEP + 2) for axis in (rows, cols)]
        places = self.at(*np.meshgrid(*knots, indexing="ij"))
        if not np.isfinite(places).all():
            raise DataError(f"the ground lies where {_name(self.there)} does not reach; warp one raster to the other")
        row, col = (RectBivariateSpline(*knots, place, kx=1, ky=1)(rows, cols) for place in places)
        return row, col

    def pixel_side(self, row: float, col: float) -> float:
        """Side of a pixel of this grid in pixels of the other."""
        rows, cols = self.at(np.array([row, row + 1, row]), np.array([col, col, col + 1]))
        down, right = (rows[1] - rows[0], cols[1] - cols[0]), (rows[2] - rows[0], cols[2] - cols[0])
        return math.sqrt(abs(down[0] * right[1] - down[1] * right[0]))


def _name(place: Georeference) -> str:
    return "no CRS" if place.crs is None else crs_name(place.crs)


def overlap(
    here: Georeference, size: tuple[int, int], there: Georeference, size_there: tuple[int, int]
) -> Window | None:
    """The upright window of a grid that another covers; None if they share no ground. Sizes are width and height.

    Raises:
        DataError: one CRS cannot be transformed to the other.
    """
    edges = (np.linspace(-0.5, length - 0.5, 21) for length in reversed(size_there))
    places = GridTransform(there, here).at(*np.meshgrid(*edges, indexing="ij"))
    finite = [axis[np.isfinite(axis)] for axis in places]
    if not all(len(axis) for axis in finite):
        return None
    top, left = (math.floor(axis.min() + 0.5 + _SLACK) for axis in finite)
    bottom, right = (math.ceil(axis.max() + 0.5 - _SLACK) for axis in finite)
    top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, size[1]), min(right, size[0])
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


class RegriddedGray:
    """A raster as grey values on another grid; area averages where its own pixels are smaller. Use it as a context.

    The bands of the raster are averaged. The sizes of pixels are compared at `middle`, row and column of the grid.
    """

    def __init__(self, source: Source, grid: Georeference, middle: tuple[float, float]) -> None:
        factor = max(1.0, GridTransform(grid, source.georeference).pixel_side(*middle))
        width, height = (max(1, round(length / factor)) for length in (source.width, source.height))
        self._source = replace(source, width=width, height=height)
        self._map = GridTransform(grid, self._source.georeference)
        self._reader = Reader(self._source)

    def __enter__(self) -> "RegriddedGray":
        return self

    def __exit__(self, *what: object) -> None:
        self._reader.__exit__(*what)

    def read(
        self, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Grey values (h, w) float32 at rows (h,) and columns (w,) of the grid, and which of them are valid.

        The others are near the mean of the valid ones.

        Raises:
            DataError: a block cannot be decoded, or the grids cannot be compared.
        """
        row, col = self._map.cross(rows, cols)
        grey, valid = np.zeros((len(rows), len(cols)), np.float32), np.zeros((len(rows), len(cols)), bool)
        top, left = (max(0, math.floor(axis.min())) for axis in (row, col))
        bottom = min(self._source.height, math.ceil(row.max()) + 1)
        right = min(self._source.width, math.ceil(col.max()) + 1)
        if top >= bottom or left >= right:
            return grey, valid
        strip = self._reader.read(Window(left, top, right - left, bottom - top))
        if not strip.valid.any():
            return grey, valid
        stored = strip.pixels.mean(0, dtype=np.float32)
        stored[~strip.valid] = stored[strip.valid].mean()
        places = np.broadcast_arrays(row - top, col - left)
        cover = map_coordinates(strip.valid.astype(np.float32), places, order=1, cval=0.0)
        return map_coordinates(stored, places, order=1, mode="nearest"), cover > _WHOLE
