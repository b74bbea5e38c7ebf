"""A grid of square cells in metres over a map, along its columns or rotated to the direction of work.

The cells are squares in the plane of the map's columns and rows, scaled by the GSD at the centre of the map. So
degrees, Web Mercator and UTM need no special case; far from the centre a cell is as distorted as the projection.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray

from agriseg.errors import DataError, UsageError
from agriseg.legend import NODATA
from agriseg.maps.reader import MaskSource
from agriseg.raster.georeference import Georeference

MAX_CELLS = 4_000_000
"""Cells of a grid: 64 MB for each pair of numbers that is kept of all."""
_LEAST_PIXELS = 2  # of a cell's side
_OBLIQUE = 0.01  # cosine between a pixel's sides on the ground, above which cells would be no squares
_BLOCK = 1024  # columns that are counted at once
_NO_GROUND = (
    "the map's ground is unknown, cells and distances need metres; give the raster a CRS: gdalwarp, gdal_edit.py"
)

Ints = NDArray[np.integer]


@dataclass(frozen=True)
class CellGrid:
    """Square cells over all of a map. A pixel is in the cell that its centre lies in.

    The columns of cells run along the heading, the first row of cells lies farthest that way. With a heading of 0 the
    grid begins in the map's upper left corner.

    Args:
        georeference: of the cells, as if they were pixels; its transform is rotated if they are turned.
        shape: rows and columns of cells.
        side: of a cell, metres.
        from_pixels: the map's columns and rows to those of the cells; (0, 0) is a corner in both.
    """

    georeference: Georeference
    shape: tuple[int, int]
    side: float
    from_pixels: rasterio.Affine

    @classmethod
    def over(
        cls, source: MaskSource, side: float, heading: float = 0.0, through: tuple[float, float] | None = None
    ) -> "CellGrid":
        """Lay cells over a map.

        The heading is that of the cells' columns, degrees clockwise on the ground from the map's columns. On a map with
        north up that is from grid north. Only lines matter: 100 is 280. A line along it `through` a column and row of
        the map, (0, 0) its corner, lies between two columns of cells; it may be outside the map.

        Raises:
            DataError: the map's ground is unknown, or its pixels are oblique there.
            UsageError: cells smaller than 2 pixels, more than `MAX_CELLS`, or a heading that is no number.
        """
        plane = metric_transform(source)
        check_side(side, plane)
        if not math.isfinite(heading):
            raise UsageError(f"heading {heading}, expected degrees, such as 45")
        angle = math.radians(heading * _turn(source.georeference.transform))
        cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)  # right angles are exact
        turned = rasterio.Affine(cos, sin, 0, -sin, cos, 0) @ rasterio.Affine.scale(1 / side) @ plane
        corners = np.array([0, source.width] * 2), np.array([0] * 2 + [source.height] * 2)
        cols, rows = turned @ corners
        left, top = cols.min(), rows.min()
        if through is not None:
            line = (turned @ through)[0]
            left = line - math.ceil(line - left - 1e-9)
        shape = math.ceil(rows.max() - top - 1e-9), math.ceil(cols.max() - left - 1e-9)
        check_count(shape, side)
        from_pixels = rasterio.Affine.translation(-left, -top) @ turned
        where = Georeference(source.georeference.crs, source.georeference.transform @ ~from_pixels)
        return cls(where, shape, side, from_pixels)

    def cell_of(self, rows: range, cols: range) -> tuple[Ints, Ints]:
        """Row and column of the cells of pixels: two integer arrays that broadcast to (len(rows), len(cols))."""
        across, down = (np.asarray(each) + 0.5 for each in (cols, rows))
        to = self.from_pixels
        return _steps(to.d, across, to.e, down, to.f), _steps(to.a, across, to.b, down, to.c)

    def sums(
        self, rows: range, cols: range, kind: Ints, kinds: int, weight: NDArray[np.float64]
    ) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
        """Sum weights over the pixels of each kind in each cell, in some rows and columns of the map.

        `kind` (h, w) is below `kinds`, `weight` broadcasts to (h, w). Returns which rows and columns of cells the part
        touches, and (n, m, kinds) sums in them.
        """
        row, col = self.cell_of(rows, cols)
        top, left = int(row.min()), int(col.min())
        n, m = int(row.max()) + 1 - top, int(col.max()) + 1 - left
        key = ((row.astype(np.int64) - top) * m + (col - left)) * kinds + kind
        sums = np.bincount(key.ravel(), np.broadcast_to(weight, key.shape).ravel(), n * m * kinds).astype(np.float64)
        return (slice(top, top + n), slice(left, left + m)), sums.reshape(n, m, kinds)


def check_side(side: float, plane: rasterio.Affine) -> None:
    """Refuse cells smaller than 2 pixels; `plane` is of `metric_transform`.

    Raises:
        UsageError: they are.
    """
    least = _LEAST_PIXELS * max(plane.a, plane.e)
    if not least * (1 - 1e-9) <= side < math.inf:
        raise UsageError(f"cells of {side:g} m, expected at least {_LEAST_PIXELS} pixels; use {least:.4g} m or more")


def check_count(shape: tuple[int, int], side: float) -> None:
    """Refuse more than `MAX_CELLS`.

    Raises:
        UsageError: they are more.
    """
    if shape[0] * shape[1] > MAX_CELLS:
        raise UsageError(
            f"cells of {side:g} m are {shape[0] * shape[1]:,}, expected at most {MAX_CELLS:,}; use larger ones, "
            f"such as {1.01 * side * math.sqrt(shape[0] * shape[1] / MAX_CELLS):.3g} m"
        )


def blocks(width: int) -> Iterator[range]:
    """Columns of a map, as many at a time as are counted at once."""
    return (range(start, min(start + _BLOCK, width)) for start in range(0, width, _BLOCK))


def metric_transform(source: MaskSource) -> rasterio.Affine:
    """The map's columns and rows to metres along them, by the GSD in its middle; y runs down.

    Raises:
        DataError: the ground is unknown, or the sides of a pixel are not at right angles there.
    """
    where, width, height = source.georeference, source.width, source.height
    size = where.gsd(width, height)
    sides = where.pixel_sides((width - 1) / 2, (height - 1) / 2)
    if size is None or sides is None:
        raise DataError(_NO_GROUND)
    one, other = sides[0]
    if abs(one @ other) > _OBLIQUE * np.linalg.norm(one) * np.linalg.norm(other):
        raise DataError("the map's pixels are oblique on the ground, so cells are no squares; warp it with gdalwarp")
    return rasterio.Affine.scale(*size)


def row_pixel_areas(source: MaskSource, rows: range) -> NDArray[np.float64]:
    """(len(rows),) square metres of one pixel of each row.

    Raises:
        DataError: the ground is unknown.
    """
    areas = source.areas(rows)
    if areas is None:
        raise DataError(_NO_GROUND)
    return areas


def field_heading(source: MaskSource) -> float:
    """Heading of a field: of the longest side of the smallest rectangle around its valid pixels.

    It is in degrees as `CellGrid.over` takes them, 0 to below 180, in steps of 0.01.

    Raises:
        DataError: no valid pixel, or the map's ground is unknown.
    """
    plane = metric_transform(source)
    hull = shapely.Polygon()
    for strip in source.strips():
        hull = shapely.convex_hull(shapely.union(hull, _ends(strip.mask != NODATA, strip.row_off)))
    if hull.is_empty:
        raise DataError("the map has no valid pixel, so its field has no heading; name one in degrees")
    rectangle = shapely.oriented_envelope(shapely.transform(hull, lambda xy: xy * [plane.a, plane.e]))
    sides = np.diff(shapely.get_coordinates(rectangle), axis=0)[:2]
    right, down = sides[np.hypot(*sides.T).argmax()]
    clockwise = math.degrees(math.atan2(right, -down)) * _turn(source.georeference.transform)
    return round(clockwise % 180, 2) % 180


def _ends(valid: NDArray[np.bool_], row_off: int) -> shapely.Geometry:
    """Outer corners of the first and the last valid pixel of each row that has one, in columns and rows."""
    rows = np.flatnonzero(valid.any(1))
    first, last = valid.argmax(1)[rows], valid.shape[1] - valid[:, ::-1].argmax(1)[rows]
    top = rows + row_off
    cols, edges = np.concatenate([first, last] * 2), np.concatenate([top, top, top + 1, top + 1])
    return shapely.multipoints(np.stack([cols, edges], axis=1).astype(np.float64))


def _turn(transform: rasterio.Affine) -> int:
    """1 where clockwise on the ground is clockwise in the rows as stored, -1 on a map that is mirrored."""
    return -1 if transform.determinant > 0 else 1


def _steps(
    per_col: float, across: NDArray[np.float64], per_row: float, down: NDArray[np.float64], start: float
) -> Ints:
    """Whole cells passed, (h, w), or one row or one column where nothing changes along the other."""
    passed = np.full((1, 1), start)
    if per_col:
        passed = passed + per_col * across[None, :]
    if per_row:
        passed = passed + per_row * down[:, None]
    return passed.astype(np.int32)  # never below 0
