"""Ground of polygons drawn in degrees, on the WGS 84 ellipsoid."""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

_SEMI_MAJOR = 6378137.0
_FLATTENING = 1 / 298.257223563
_E2 = _FLATTENING * (2 - _FLATTENING)
_E = _E2**0.5


def strip_areas(
    south: NDArray[np.floating[Any]], north: NDArray[np.floating[Any]], width: float
) -> NDArray[np.float64]:
    """(N,) square metres between two parallels, over `width` degrees of longitude."""
    return np.asarray((_authalic(north) - _authalic(south)) * np.radians(width), np.float64)


def polygon_areas(polygons: NDArray[np.object_]) -> NDArray[np.float64]:
    """(N,) square metres of valid polygons whose sides are straight in degrees."""
    exteriors = shapely.get_exterior_ring(polygons)
    holes, owner = shapely.get_rings(polygons, return_index=True)
    rings = np.abs(_ring_areas(holes))
    outer = np.abs(_ring_areas(exteriors))
    return 2 * outer - np.bincount(owner, rings, len(polygons))  # the rings hold the exteriors too


def _ring_areas(rings: NDArray[np.object_]) -> NDArray[np.float64]:
    """(N,) signed square metres: the area below each side, by Simpson's rule along it."""
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    start, end, owner = xy[:-1][same], xy[1:][same], ring[1:][same]
    low = xy[:, 1].mean() if len(xy) else 0.0
    below = [_authalic(y) - _authalic(low) for y in (start[:, 1], (start[:, 1] + end[:, 1]) / 2, end[:, 1])]
    mean = (below[0] + 4 * below[1] + below[2]) / 6
    sides = mean * np.radians(end[:, 0] - start[:, 0])
    return np.bincount(owner, sides, len(rings)).astype(np.float64)


def _authalic(latitude: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """Square metres from the equator to a parallel, per radian of longitude: Snyder 1987, eq. 3-12."""
    sine = np.sin(np.radians(latitude))
    q = (1 - _E2) * (sine / (1 - _E2 * sine**2) + np.arctanh(_E * sine) / _E)
    return np.asarray(_SEMI_MAJOR**2 * q / 2)
