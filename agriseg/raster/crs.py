"""Coordinate reference systems: which are one on the ground, and what a person calls them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as warp

from agriseg.json_text import json_line
from agriseg.raster.gdal_env import GDAL_ERRORS

_STILL = 1e-9  # of a coordinate, by which rounding may move it from one CRS to another
_LONGEST = 60  # characters of a name


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
