"""Cells over a map, and which cell each pixel of the map lies in.

The way from pixels to cells is computed at every 256th column and row, with the projections of the map and of the
cells, and is bilinear between. Where both have one CRS that is exact. From UTM to degrees it is off by less than a
thousandth of a pixel where pixels are up to 0.5 m.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from agriseg.analysis.metric_grid import CellGrid, check_count, check_side, metric_transform
from agriseg.errors import DataError
from agriseg.maps.reader import MaskSource
from agriseg.raster.georeference import Georeference
from agriseg.vectors.features import moved

STEP = 256
"""Pixels from node to node, and side of a block of pixels."""
LONLAT_CELLS = CRS.from_epsg(4326)
"""CRS of cells along longitude and latitude; x is the longitude."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Cells that cover a map. A pixel is in the cell that its centre lies in.

    Args:
        georeference: of the cells, as if they were pixels; rotated if they are turned to the line of work.
        shape: rows and columns of cells.
        side: of a cell, metres.
        nodes: (2, N + 1, M + 1) row and column of cells at the corners of N x M blocks of `STEP` pixels, which begin at
            the corner of the map.
        pixel_areas: (N, M) square metres of a pixel in each block.
    """

    georeference: Georeference
    shape: tuple[int, int]
    side: float
    nodes: Floats
    pixel_areas: Floats

    @classmethod
    def turned(
        cls, source: MaskSource, side: float, heading: float, through: tuple[float, float] | None = None
    ) -> "Cells":
        """Squares whose columns run along a heading; see `CellGrid.over` for it, for `through` and for errors."""
        grid = CellGrid.over(source, side, heading, through)
        cols, rows = grid.from_pixels @ _corners(source)
        return cls(grid.georeference, grid.shape, side, np.stack([rows, cols]), _pixel_areas(source))

    @classmethod
    def along_lonlat(cls, source: MaskSource, side: float, middle: tuple[float, float] | None = None) -> "Cells":
        """Cells whose columns run north, on longitude and latitude (EPSG:4326).

        They measure `side` both ways on the WGS 84 ellipsoid at `middle`, a longitude and latitude; None is the middle
        of the map.

        Raises:
            UsageError: cells smaller than 2 pixels, or too many.
            DataError: the place of the map is unknown, its pixels are oblique, or it lies across the 180th meridian.
        """
        check_side(side, metric_transform(source))
        cols, rows = _corners(source)
        lonlat = _lonlat(source, cols, rows)
        inside = _lonlat(source, np.minimum(cols, source.width), np.minimum(rows, source.height))
        (west, south), (east, north) = inside.min((1, 2)).tolist(), inside.max((1, 2)).tolist()
        if east - west > 180:
            raise DataError("the map lies across the 180th meridian, where cells have no one order; cut it there")
        right, down = _degrees(side, *(middle or ((west + east) / 2, (south + north) / 2)))
        shape = math.ceil((north - south) / down - 1e-9), math.ceil((east - west) / right - 1e-9)
        check_count(shape, side)
        where = Georeference(LONLAT_CELLS, rasterio.Affine(right, 0, west, 0, -down, north))
        nodes = np.stack([(north - lonlat[1]) / down, (lonlat[0] - west) / right])
        return cls(where, shape, side, nodes, _pixel_areas(source))

    def blocks(self, rows: range, width: int) -> Iterator[tuple[slice, slice, float, Floats, Floats]]:
        """The blocks of some rows of a map, or their parts in these rows, in order.

        Yields:
            Its rows within `rows` and its columns, square metres of one of its pixels, and (h, w) row and column of
            cells at the centres of its pixels; their whole parts are the cell's.
        """
        top = rows.start
        while top < rows.stop:
            block_row = top // STEP
            down = min((block_row + 1) * STEP, rows.stop)
            for left in range(0, width, STEP):
                block, right = (block_row, left // STEP), min(left + STEP, width)
                inside = slice(top - rows.start, down - rows.start), slice(left, right)
                y, x = (self._between(each, block, range(top, down), range(left, right)) for each in self.nodes)
                yield *inside, float(self.pixel_areas[block]), y, x
            top = down

    def _between(self, nodes: Floats, block: tuple[int, int], rows: range, cols: range) -> Floats:
        """(len(rows), len(cols)) values at pixel centres, bilinear between the corners of a block."""
        row, col = block
        (a, b), (c, d) = nodes[row : row + 2, col : col + 2].tolist()
        down = (np.arange(rows.start, rows.stop)[:, None] + 0.5) / STEP - row
        right = (np.arange(cols.start, cols.stop)[None] + 0.5) / STEP - col
        return np.asarray((a + (c - a) * down) + ((b - a) + (a - b - c + d) * down) * right)

    @cached_property
    def areas(self) -> Floats:
        """(rows, cols) square metres of each cell on the ellipsoid."""
        areas = self.georeference.each_pixel_area(*self.shape)
        if areas is None:
            raise DataError("the ground of the cells is unknown; give the raster a CRS with gdalwarp")
        return areas

    @cached_property
    def least_side(self) -> float:
        """Metres of the shortest side of any cell: what is that far away on the ground is at most this far in cells."""
        rows, cols = self.shape
        across, down = np.meshgrid([0, cols // 2, cols - 1], [0, rows // 2, rows - 1])
        sides = self.georeference.pixel_sides(across.ravel().astype(float), down.ravel().astype(float))
        return self.side if sides is None else float(np.hypot(*np.moveaxis(sides, -1, 0)).min())

    def outlines(self, rows: range, cols: range, inset: float = 0.0) -> NDArray[np.object_]:
        """(len(rows), len(cols)) squares of cells, with a cell as the unit, each smaller by `inset` at each edge."""
        top, left = np.array(rows)[:, None], np.array(cols)[None]
        return np.asarray(shapely.box(left + inset, top + inset, left + 1 - inset, top + 1 - inset), object)

    def shapes(self, some: NDArray[np.bool_]) -> NDArray[np.object_]:
        """Polygons around (rows, cols) chosen cells, dissolved, in the CRS of the cells."""
        pieces = rasterio.features.shapes(some.astype(np.uint8), some, connectivity=4)
        shapes = np.array([shapely.geometry.shape(piece) for piece, _ in pieces], object)
        return moved(shapes, self.georeference.transform)

    def in_cells(self, shape: shapely.Geometry) -> shapely.Geometry:
        """A shape in the CRS of the cells with a cell as the unit."""
        return moved(shape, ~self.georeference.transform)


def _ends(length: int) -> NDArray[np.float64]:
    """Where blocks begin, and where the last of them would end."""
    return np.arange(-(-length // STEP) + 1, dtype=np.float64) * STEP


def _corners(source: MaskSource) -> tuple[Floats, Floats]:
    """Columns and rows of the corners of blocks."""
    cols, rows = np.meshgrid(_ends(source.width), _ends(source.height))
    return cols, rows


def _lonlat(source: MaskSource, cols: Floats, rows: Floats) -> Floats:
    """(2, n, m) longitude and latitude of columns and rows of a map."""
    x, y = source.georeference.transform @ (cols, rows)
    lonlat = source.georeference.lonlat(x, y)
    if lonlat is None or not np.isfinite(lonlat).all():
        raise DataError("the map's longitude and latitude are unknown; give the raster a CRS with gdalwarp")
    return lonlat


def _pixel_areas(source: MaskSource) -> Floats:
    cols, rows = _ends(source.width)[:-1], _ends(source.height)[:-1]
    across, down = np.meshgrid(cols + (STEP - 1) / 2, rows + (STEP - 1) / 2)
    sides = source.georeference.pixel_sides(across.ravel(), down.ravel())
    if sides is None:
        raise DataError("the map's ground is unknown, cells need metres; give the raster a CRS: gdalwarp, gdal_edit.py")
    return np.asarray(np.abs(np.linalg.det(sides)).reshape(across.shape))


def _degrees(side: float, longitude: float, latitude: float) -> tuple[float, float]:
    """Degrees of longitude and of latitude that measure `side` metres at a place."""
    small = 1e-3
    around = Georeference(
        LONLAT_CELLS, rasterio.Affine(small, 0, longitude - small / 2, 0, -small, latitude + small / 2)
    )
    sides = around.pixel_sides(0.0, 0.0)
    if sides is None:
        raise DataError(f"no metres at longitude {longitude:g}, latitude {latitude:g}; check the map's CRS")
    return side / float(sides[0, 0, 0]) * small, side / abs(float(sides[0, 1, 1])) * small
