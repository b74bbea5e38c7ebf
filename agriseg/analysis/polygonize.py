"""Polygons of patches, with outlines along the sides of the pixels.

Only the corners of the outlines are kept of a map that is read in strips, so there are no seams. The corners of a
patch sorted by row form pairs, the horizontal sides of its outline; sorted by column they form the vertical sides.
Following horizontal and vertical sides in turn closes the rings. Where two pixels of a patch touch in a point only, the
outline passes from one to the other: each ring is simple, and a hole may touch the exterior in a point, as OGC
Simple Features 06-103r4, 6.1.11, allows.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, depth_first_order

from agriseg.analysis.components import Components, Ints
from agriseg.analysis.outline_corners import DEPARTS, DOWN, corner_span, outline_corners
from agriseg.errors import DataError, UsageError
from agriseg.maps.reader import ROWS, MaskSource
from agriseg.units import HECTARE

MAX_POLYGONS = 500_000
"""Of one map; a desktop GIS stalls with more."""
MAX_SIMPLIFIED = 50_000
"""Polygons that are simplified together; the time grows with their square."""

_BATCH = 2**20  # corners of polygons that are made together, unless one has more


@dataclass(frozen=True)
class Polygons:
    """Polygons in the map's CRS, in the order of their patches' first pixels.

    Args:
        shapes: (N,) of shapely; exteriors run counter-clockwise in CRS coordinates, holes clockwise.
        columns: name to (N,): class_id, class_name, mean_confidence (0 to 1), and where the ground is known area_m2
            and area_ha, those of the pixels on the ground and not of the outline in the CRS's plane.
    """

    shapes: NDArray[np.object_]
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.shapes)


def polygonize(source: MaskSource, patches: Components, simplify_m: float = 0, rows: int = ROWS) -> Polygons:
    """Outline all patches of a map, which were read with the same `rows`.

    Rasterised again, the polygons give the mask back pixel for pixel, unless they are simplified. With `simplify_m`
    (metres), corners that stand out by less than a triangle of its square are cut, and neighbours keep one border
    (Visvalingam and Whyatt 1993, as `shapely.coverage_simplify` has it). The areas in the columns stay those of the
    pixels.

    Raises:
        UsageError: `simplify_m` is negative or no number.
        DataError: too many polygons or corners, no transform, or metres asked for where the ground is unknown.
    """
    _check(source, len(patches), simplify_m)
    corners = np.sort(np.concatenate(outline_corners(source, patches, rows)))
    begins = np.searchsorted(corners, np.arange(len(patches) + 1) * corner_span(source))
    if simplify_m:
        shapes = _simplified(_Rings.of(corners, begins, source), source, simplify_m)
    else:
        shapes = np.concatenate([np.empty(0, object), *_exact(corners, begins, source)])
    return Polygons(shapes, _columns(source, patches))


def _exact(corners: Ints, begins: Ints, source: MaskSource) -> Iterator[NDArray[np.object_]]:
    """Polygons in the CRS, some of them at a time; `begins` says where in the corners each begins, (N + 1,)."""
    where = source.georeference.transform
    first = 0
    while first < len(begins) - 1:
        stop = max(first + 1, int(np.searchsorted(begins, begins[first] + _BATCH)))
        rings = _Rings.of(corners, begins[first : stop + 1], source)
        yield rings.polygons(np.stack(where @ rings.points.T.astype(np.float64), axis=1))
        first = stop


def _check(source: MaskSource, polygons: int, simplify_m: float) -> None:
    if not (math.isfinite(simplify_m) and simplify_m >= 0):
        raise UsageError(f"polygons simplified by {simplify_m} m, expected 0 or more metres; give 0.1m")
    if polygons > MAX_POLYGONS:
        raise DataError(
            f"{polygons:,} patches, expected at most {MAX_POLYGONS:,} polygons; drop the small ones with --mmu, "
            "or smooth the mask with --smooth"
        )
    if source.georeference.gcps:
        raise DataError("the map has ground control points but no transform, so no polygons; warp it with gdalwarp")
    if simplify_m and polygons > MAX_SIMPLIFIED:
        raise DataError(
            f"{polygons:,} polygons to simplify, expected at most {MAX_SIMPLIFIED:,}; drop the small ones with --mmu, "
            "or do not simplify"
        )
    if simplify_m and source.georeference.gsd(source.width, source.height) is None:
        raise DataError(f"polygons cannot be simplified by {simplify_m} m, the map's ground is unknown; leave it out")


def _columns(source: MaskSource, patches: Components) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "class_id": patches.class_id.astype(np.int64),
        "class_name": np.array(source.legend.names, object)[patches.class_id],
    }
    if patches.square_metres is not None:
        columns |= {"area_m2": patches.square_metres, "area_ha": patches.square_metres / HECTARE}
    return columns | {"mean_confidence": patches.confidence}


@dataclass(frozen=True)
class _Rings:
    """Closed rings of polygons; a polygon's exterior comes first.

    Args:
        points: (V, 2) integers, column and row of pixel corners.
        starts: (R + 1,) point at which each ring begins.
        exteriors: (N + 1,) ring with which each polygon begins.
    """

    points: NDArray[Any]
    starts: Ints
    exteriors: Ints

    @classmethod
    def of(cls, corners: Ints, begins: Ints, source: MaskSource) -> "_Rings":
        """Join the corners of some polygons; see `_exact`."""
        some = corners[begins[0] : begins[-1]]
        clockwise = source.georeference.transform.determinant > 0  # as the rows are seen, the first on top
        departing = np.flatnonzero((some & DEPARTS > 0) == clockwise).astype(np.int32)
        vertex, starts = _followed(departing, _across(some, source))
        row, col = np.divmod((some[vertex] % corner_span(source)) >> 3, source.width + 1)
        points = np.stack([col, row], axis=1, dtype=np.int32, casting="same_kind")
        return cls(points, starts, np.searchsorted(vertex[starts[:-1]], begins - begins[0]))

    def polygons(self, points: NDArray[np.float64]) -> NDArray[np.object_]:
        """(N,) of shapely, with these coordinates (V, 2) of the points."""
        places = self.starts, self.exteriors
        return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, places), object)


def _across(corners: Ints, source: MaskSource) -> NDArray[np.int32]:
    """The corner at the other end of each one's vertical side, (C,)."""
    rest, col = np.divmod(corners >> 3, source.width + 1)
    row = rest % (source.height + 1)
    key = ((rest - row) * (source.width + 1) + col * (source.height + 1) + row) * 2 + (corners & DOWN > 0)
    upper, lower = np.argsort(key).reshape(-1, 2).T
    across = np.empty(len(corners), np.int32)
    across[upper], across[lower] = lower, upper
    return across


def _followed(departing: NDArray[np.int32], across: NDArray[np.int32]) -> tuple[NDArray[np.int32], Ints]:
    """Follow the sides of outlines: corners in the order of the rings, closed; (R + 1,) where each ring begins.

    `departing` are the corners that are left horizontally, to the neighbour in the list, ascending; `across` see
    `_across`.
    """
    if not len(departing):
        return departing, np.zeros(1, np.int64)
    number = np.empty_like(across)
    number[departing] = np.arange(len(departing))
    onward = number[across[departing ^ 1]]
    _, ring = connected_components(_graph(onward), directed=False)
    size = np.bincount(ring)
    first = np.full(len(size), len(ring))
    np.minimum.at(first, ring, np.arange(len(ring)))
    order = np.argsort(first)
    first, size = first[order], size[order]
    onward[np.argsort(onward)[first]] = np.roll(first, -1)  # the last of each ring leads to the next ring
    path = departing[depth_first_order(_graph(onward), 0, return_predecessors=False)]
    stops = 2 * np.cumsum(size)
    closed = np.insert(np.stack([path, path ^ 1], axis=1).ravel(), stops, departing[first])
    return closed, np.append(0, stops + np.arange(1, len(stops) + 1))


def _graph(onward: NDArray[np.int32]) -> csr_array:
    """Each node leads to one other."""
    return csr_array((np.ones(len(onward)), onward, np.arange(len(onward) + 1, dtype=np.int32)))


def _simplified(rings: _Rings, source: MaskSource, tolerance_m: float) -> NDArray[np.object_]:
    """Polygons in the CRS with fewer corners, borders still shared."""
    scale, where = np.array(source.georeference.gsd(source.width, source.height)), source.georeference.transform
    noded = _noded(rings, source)
    shapes = shapely.coverage_simplify(noded.polygons(noded.points * scale), tolerance_m)
    return np.asarray(shapely.transform(shapes, lambda xy: np.stack(where @ (xy / scale).T, axis=1)), object)


def _noded(rings: _Rings, source: MaskSource) -> _Rings:
    """Add to each side the corners of other outlines on it, without which borders are not seen to be shared."""
    height, width = source.height + 1, source.width + 1
    (col, row), starts = rings.points.T.astype(np.int64), rings.starts
    along_row, along_col = row * width + col, height * width + col * height + row
    nodes = np.unique(np.concatenate([along_row, along_col]))
    level = np.append(row[:-1] == row[1:], True)
    begin = np.searchsorted(nodes, np.where(level, along_row, along_col))
    end = np.searchsorted(nodes, np.roll(np.where(np.roll(level, 1), along_row, along_col), -1))
    end[starts[1:] - 1] = begin[starts[1:] - 1] + 1  # a ring's last point stands alone
    count = np.abs(end - begin)
    offsets = np.append(0, np.cumsum(count))
    step = np.arange(offsets[-1]) - np.repeat(offsets[:-1], count)
    key = nodes[np.repeat(begin, count) + np.repeat(np.sign(end - begin), count) * step]
    upright = key >= height * width
    first, second = np.where(upright, np.divmod(key - height * width, height), np.divmod(key, width))
    points = np.stack([np.where(upright, first, second), np.where(upright, second, first)], axis=1)
    return _Rings(points, offsets[starts], rings.exteriors)
