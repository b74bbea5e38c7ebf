"""Where a raster lies: its CRS, which CRSs are the same on the ground, and how large a pixel is there.

A pixel's two sides are carried to longitude and latitude and measured on the WGS 84 ellipsoid. So degrees,
Web Mercator (2.6 times too large at 52 degrees north), UTM and rotated grids need no rules of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as warp

from agriseg.json_text import json_line
from agriseg.raster.gdal_env import GDAL_ERRORS

_STILL = 1e-9  # of a coordinate, by which rounding may move it from one CRS to another
_LONGEST = 60  # characters of a name
_SEMI_MAJOR = 6378137.0  # m, WGS 84
_TRUE_TO_GROUND = 2e-3
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
        moved = self.transform @ rasterio.Affine.translation(col_off, row_off)
        transform = moved @ rasterio.Affine.scale(col_scale, row_scale)
        points = tuple(
            GroundControlPoint(
                (p.row - row_off) / row_scale, (p.col - col_off) / col_scale, p.x, p.y, p.z, p.id, p.info
            )
            for p in self.gcps
        )
        unmoved = (col_off, row_off, col_scale, row_scale) == (0, 0, 1, 1)
        return self if unmoved else Georeference(self.crs, transform, points, self.gcp_crs)


def pixel_sides(
    crs: CRS | None, transform: rasterio.Affine, cols: NDArray[np.float64], rows: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """East and north components of pixel sides, at pixel centres.

    Args:
        crs: of the raster.
        transform: pixel to CRS coordinates.
        cols: (N,) column indices; the centre of column 0 is 0.
        rows: (N,) row indices.

    Returns:
        (N, 2, 2) float64 in metres: [side along a row | side along a column][east, north]. None without a
        CRS, or where the CRS has no way to the Earth's coordinates and no unit of length.
        Source of the radii: Snyder 1987, "Map Projections", USGS PP 1395, eq. 4-18 and 4-20.
    """
    if crs is None:
        return None
    half = 0.5
    ends = [(half, 0.0), (-half, 0.0), (0.0, half), (0.0, -half)]
    xy = [transform @ (cols + half + dc, rows + half + dr) for dc, dr in ends]
    try:
        lonlat = [np.array(warp(crs, "OGC:CRS84", list(x), list(y))) for x, y in xy]
    except (CRSError, *GDAL_ERRORS):  # such as a CRS not tied to the Earth
        return _plane_sides(crs, transform, len(cols))
    if not all(np.isfinite(position).all() for position in lonlat):
        return None
    latitude = np.radians(np.mean([position[1] for position in lonlat], axis=0))
    curve = 1 - _ECCENTRICITY_2 * np.sin(latitude) ** 2
    to_east = np.radians(_SEMI_MAJOR / np.sqrt(curve) * np.cos(latitude))
    to_north = np.radians(_SEMI_MAJOR * (1 - _ECCENTRICITY_2) / curve**1.5)
    sides = np.stack([lonlat[0] - lonlat[1], lonlat[2] - lonlat[3]])  # (side, lon|lat, N)
    sides[:, 0] = (sides[:, 0] + 180) % 360 - 180  # across the antimeridian
    return np.stack([sides[:, 0] * to_east, sides[:, 1] * to_north], axis=1).transpose(2, 0, 1)


def pixel_areas(crs: CRS | None, transform: rasterio.Affine, width: int, rows: range) -> NDArray[np.float64] | None:
    """Ground area of one pixel of each row, taken in the middle of the row.

    Returns:
        (len(rows),) float64 in square metres, or None where the ground is unknown.
    """
    index = np.asarray(rows, np.float64)
    sides = pixel_sides(crs, transform, np.full(len(rows), (width - 1) / 2), index)
    return None if sides is None else np.abs(np.linalg.det(sides))


def gsd(crs: CRS | None, transform: rasterio.Affine, width: int, height: int) -> tuple[float, float] | None:
    """Ground sample distance along a row and along a column, in metres, at the middle of the raster.

    A projection true to the ground within 0.2 % (UTM inside its zone is) keeps its own pixel size, the
    number people know. None where the ground is unknown.
    """
    middle = np.array([(width - 1) / 2]), np.array([(height - 1) / 2])
    sides = pixel_sides(crs, transform, *middle)
    if crs is None or sides is None:
        return None
    lengths = np.hypot(sides[0, :, 0], sides[0, :, 1])
    plane = _plane_sides(crs, transform, 1)
    if plane is not None:
        nominal = np.hypot(plane[0, :, 0], plane[0, :, 1])
        if np.allclose(lengths, nominal, rtol=_TRUE_TO_GROUND):
            lengths = nominal
    return float(lengths[0]), float(lengths[1])


def _plane_sides(crs: CRS, transform: rasterio.Affine, count: int) -> NDArray[np.float64] | None:
    """Pixel sides by the CRS's own unit of length; None where its unit is an angle."""
    if crs.is_geographic:
        return None
    try:
        metres = crs.units_factor[1]
    except CRSError:
        return None
    side = np.array([[transform.a, transform.d], [transform.b, transform.e]]) * metres
    return np.broadcast_to(side, (count, 2, 2))


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
    return bool(np.allclose(np.transpose([x, y]), places, rtol=_STILL, atol=_STILL))


def horizontal(crs: CRS) -> CRS:
    """A CRS without its heights and without the transformation it is bound to."""
    told = _told(crs)
    kind = told.get("type")
    if kind == "CompoundCRS":
        return horizontal(CRS.from_user_input(json_line(told["components"][0])))
    if kind == "BoundCRS":
        return horizontal(CRS.from_user_input(json_line(told["source_crs"])))
    return crs


def crs_name(crs: CRS) -> str:
    """What a person calls a CRS: its code, such as EPSG:32632, else the name that it has itself."""
    code = crs.to_authority()
    if code:
        return ":".join(code)
    told = _told(crs)
    if told.get("type") == "CompoundCRS":
        return " + ".join(_called(each) for each in told["components"])
    return _called(told)


def _called(told: dict[str, Any]) -> str:
    if "id" in told:
        return f"{told['id']['authority']}:{told['id']['code']}"
    if told.get("type") == "BoundCRS":
        return _called(told["source_crs"])
    name = " ".join(str(told.get("name", "without a name")).split())
    return f"'{name if len(name) <= _LONGEST else name[: _LONGEST - 1] + '…'}'"


def _told(crs: CRS) -> dict[str, Any]:
    """PROJJSON; empty for what has none."""
    try:
        return dict(crs.to_dict(projjson=True))
    except (CRSError, ValueError, *GDAL_ERRORS):
        return {}
