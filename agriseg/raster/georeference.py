"""Where a raster lies: its CRS, which CRSs are the same on the ground, and how large a pixel is there.

A pixel's two sides are transformed to longitude and latitude and measured on the WGS 84 ellipsoid. So degrees,
Web Mercator (2.6 times too large at 52 degrees north), UTM and rotated grids need no rules of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as warp

from agriseg.json_text import json_line
from agriseg.raster.gdal_env import GDAL_ERRORS

_ROUNDING = 1e-9  # of a coordinate, by which rounding may move it from one CRS to another
_DIGITS = 1000  # least pixel side, in steps of the last digit of a coordinate: 1 micrometre in UTM
_LONGEST = 60  # characters of a name
_TRUE_TO_GROUND = 2e-3
_NODES = 33  # rows and columns at which the areas of a whole raster are computed
_SEMI_MAJOR = 6378137.0  # m, WGS 84
_ECCENTRICITY_2 = 0.0066943799901413165  # WGS 84: f * (2 - f), f = 1/298.257223563


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies: CRS and transform, or ground control points with theirs."""

    crs: CRS | None
    transform: rasterio.Affine
    gcps: tuple[GroundControlPoint, ...] = ()
    gcp_crs: CRS | None = None

    def shifted(self, col_off: float, row_off: float, col_scale: float = 1.0, row_scale: float = 1.0) -> "Georeference":
        """The georeference of a part, whose pixels are `scale` of these and whose corner is at `off` (px)."""
        if (col_off, row_off, col_scale, row_scale) == (0, 0, 1, 1):
            return self
        moved = self.transform @ rasterio.Affine.translation(col_off, row_off)
        points = tuple(
            GroundControlPoint(
                (p.row - row_off) / row_scale, (p.col - col_off) / col_scale, p.x, p.y, p.z, p.id, p.info
            )
            for p in self.gcps
        )
        return Georeference(self.crs, moved @ rasterio.Affine.scale(col_scale, row_scale), points, self.gcp_crs)

    def gsd(self, width: int, height: int) -> tuple[float, float] | None:
        """Metres per pixel along a row and along a column, at the middle of the raster; None if unknown.

        A projection true to the ground within 0.2 % (UTM inside its zone is) keeps its own pixel size, the
        number people know.
        """
        sides = self.pixel_sides((width - 1) / 2, (height - 1) / 2)
        if sides is None:
            return None
        along_row, along_column = np.hypot(*sides[0].T).tolist()
        plane = self._plane_sides()
        if plane is not None:
            nominal = np.hypot(*plane.T).tolist()
            if np.allclose((along_row, along_column), nominal, rtol=_TRUE_TO_GROUND):
                along_row, along_column = nominal
        return along_row, along_column

    def pixel_areas(self, width: int, rows: range) -> NDArray[np.float64] | None:
        """(len(rows),) square metres of a pixel in the middle of each row; None where the ground is unknown."""
        sides = self.pixel_sides((width - 1) / 2, np.asarray(rows, np.float64))
        return None if sides is None else np.abs(np.linalg.det(sides))

    def each_pixel_area(self, height: int, width: int) -> NDArray[np.float64] | None:
        """(height, width) square metres of each pixel; None where the ground is unknown.

        They are computed at 33 rows and columns at most and are linear between: within 1e-8 up to 10 km.
        """
        rows, cols = (np.unique(np.linspace(0, size - 1, _NODES).round()) for size in (height, width))
        across, down = np.meshgrid(cols, rows)
        sides = self.pixel_sides(across.ravel(), down.ravel())
        if sides is None:
            return None
        areas = np.abs(np.linalg.det(sides)).reshape(across.shape)
        by_row = np.stack([np.interp(np.arange(width), cols, row) for row in areas])
        above = np.clip(np.searchsorted(rows, np.arange(height), "right") - 1, 0, max(len(rows) - 2, 0))
        below = np.minimum(above + 1, len(rows) - 1)
        share = ((np.arange(height) - rows[above]) / np.maximum(rows[below] - rows[above], 1))[:, None]
        return np.asarray(by_row[above] * (1 - share) + by_row[below] * share)

    def pixel_sides(
        self, cols: NDArray[np.float64] | float, rows: NDArray[np.float64] | float
    ) -> NDArray[np.float64] | None:
        """East and north components of pixel sides, at pixel centres.

        Args:
            cols: (N,) column indices, or one; the centre of column 0 is 0.
            rows: (N,) row indices, or one.

        Returns:
            (N, 2, 2) float64 in metres: [side along a row | side along a column][east, north]. None without a
            CRS, where the CRS has no way to the Earth's coordinates and no unit of length, or where a pixel is so
            small that its coordinates do not tell its corners apart.
            Source of the radii: Snyder 1987, "Map Projections", USGS PP 1395, eq. 4-18 and 4-20.
        """
        if self.crs is None:
            return None
        half = 0.5
        cols, rows = np.broadcast_arrays(np.atleast_1d(cols) + half, rows + half)
        ends = [(half, 0.0), (-half, 0.0), (0.0, half), (0.0, -half)]
        x, y = self.transform @ (np.array([cols + dc for dc, _ in ends]), np.array([rows + dr for _, dr in ends]))
        shortest = np.hypot(x[::2] - x[1::2], y[::2] - y[1::2]).min(initial=np.inf)
        if shortest < _DIGITS * np.spacing(np.abs([x, y]).max(initial=0.0)):
            return None
        lonlat = self.lonlat(x, y)
        if lonlat is None:
            plane = self._plane_sides()
            return None if plane is None else np.broadcast_to(plane, (len(cols), 2, 2))
        if not np.isfinite(lonlat).all():
            return None
        latitude = np.radians(lonlat[1].mean(0))
        curve = 1 - _ECCENTRICITY_2 * np.sin(latitude) ** 2
        to_east = np.radians(_SEMI_MAJOR / np.sqrt(curve) * np.cos(latitude))
        to_north = np.radians(_SEMI_MAJOR * (1 - _ECCENTRICITY_2) / curve**1.5)
        east, north = lonlat[:, ::2] - lonlat[:, 1::2]  # (side, N) degrees
        east = (east + 180) % 360 - 180  # across the antimeridian
        return np.stack([east * to_east, north * to_north], axis=-1).transpose(1, 0, 2)

    def lonlat(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Degrees, OGC:CRS84, of coordinates in the CRS.

        Returns:
            (2, *x.shape), not finite where a place has none; None where the CRS is not tied to the Earth.
        """
        try:
            return np.reshape(warp(self.crs, "OGC:CRS84", x.ravel(), y.ravel()), (2, *x.shape))
        except (CRSError, *GDAL_ERRORS):
            return None

    def _plane_sides(self) -> NDArray[np.float64] | None:
        """(2, 2) pixel sides by the CRS's own unit of length; None where its unit is an angle."""
        try:
            metres = None if self.crs is None or self.crs.is_geographic else self.crs.units_factor[1]
        except CRSError:
            return None
        a, b, _, d, e = self.transform[:5]
        return None if metres is None else np.array([[a, d], [b, e]]) * metres


def same_horizontal_crs(one: CRS, two: CRS, places: Sequence[tuple[float, float]]) -> bool:
    """Whether two CRSs are one in the plane: heights, names and spellings move no pixel.

    Args:
        one, two: may name heights as well, be bound to another CRS, or be spelled in any dialect.
        places: coordinates in `one`; where neither is the other's, they must keep their numbers in `two`.
    """
    one, two = horizontal(one), horizontal(two)
    if one == two:
        return True
    try:
        x, y = warp(one, two, *([place[axis] for place in places] for axis in (0, 1)))
    except (CRSError, *GDAL_ERRORS):
        return False
    return bool(np.allclose(np.transpose([x, y]), places, rtol=_ROUNDING, atol=_ROUNDING))


def horizontal(crs: CRS) -> CRS:
    """A CRS without its heights and without the transformation it is bound to."""
    _, parts = _definition(crs)
    return horizontal(CRS.from_user_input(parts[0])) if parts else crs


def crs_name(crs: CRS) -> str:
    """The code of a CRS, such as EPSG:32632, else the name that it has itself."""
    if code := crs.to_authority():
        return ":".join(code)
    name, parts = _definition(crs)
    if parts:
        return " + ".join(crs_name(CRS.from_user_input(part)) for part in parts)
    return f"'{name if len(name) <= _LONGEST else name[: _LONGEST - 1] + '…'}'"


def _definition(crs: CRS) -> tuple[str, list[str]]:
    """A CRS's own name, and the PROJJSON of each part of a compound or bound one, that of the plane first."""
    try:
        values = crs.to_dict(projjson=True)
    except (CRSError, ValueError, *GDAL_ERRORS):
        values = {}
    parts = [*values.get("components", []), *([values["source_crs"]] if "source_crs" in values else [])]
    name = " ".join(str(values.get("name", "without a name")).split())
    return name, [json_line(part) for part in parts]
