"""Polygons: the outlines of patches along the sides of their pixels.

A corner is a point where an outline turns. Sorted by row the corners of a patch pair up to the horizontal sides of its
outline, sorted by column to the vertical ones, and following these in turn closes its rings. So only corners are kept
of a map that is read in strips, and there are no seams. Where two pixels of a patch meet in a point alone, the outline
passes from one to the other: each ring is simple then, and a hole may touch the exterior in a point, as OGC Simple
Features 06-103r4, 6.1.11, allows.
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

from agriseg.analysis.components import Components, Ints, RunBlock, run_blocks
from agriseg.errors import DataError, UsageError
from agriseg.legend import NODATA
from agriseg.maps.reader import ROWS, MaskSource
from agriseg.raster.geodesy import gsd
from agriseg.units import HECTARE

MAX_POLYGONS = 500_000
"""Beyond it nobody looks at them, and a desktop GIS stalls."""
MAX_CORNERS = 20_000_000
"""Of all outlines together: about 1.5 GiB while they are made."""
MAX_SIMPLIFIED = 50_000
"""Polygons that are simplified together; the time grows with their square."""

_BATCH = 2**20  # corners of polygons that are made together, unless one has more
_RIGHT, _DOWN, _DEPARTS = 4, 2, 1


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
    """Outline patches.

    Rasterised again, the polygons give the mask back pixel for pixel, unless they are simplified.

    Args:
        source: the map.
        patches: all of it, found with the same `rows`.
        simplify_m: metres; corners that stand out by less than a triangle of its square are cut, and neighbours keep
            one border (Visvalingam and Whyatt 1993, as `shapely.coverage_simplify` has it). The areas in the columns
            stay those of the pixels.
        rows: read at a time.

    Raises:
        UsageError: `simplify_m` is negative or no number.
        DataError: too many polygons or corners, no transform, or metres asked for where the ground is unknown.
    """
    _check(source, len(patches), simplify_m)
    corners = np.sort(np.concatenate(_all_corners(source, patches, rows)))
    begins = np.searchsorted(corners, np.arange(len(patches) + 1) * _span(source))
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
    if simplify_m and _gsd(source) is None:
        raise DataError(f"polygons cannot be simplified by {simplify_m} m, the map's ground is unknown; leave it out")


def _gsd(source: MaskSource) -> tuple[float, float] | None:
    return gsd(source.georeference.crs, source.georeference.transform, source.width, source.height)


def _columns(source: MaskSource, patches: Components) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "class_id": patches.class_id.astype(np.int64),
        "class_name": np.array(source.legend.names, object)[patches.class_id],
    }
    if patches.square_metres is not None:
        columns |= {"area_m2": patches.square_metres, "area_ha": patches.square_metres / HECTARE}
    return columns | {"mean_confidence": patches.confidence}


def _all_corners(source: MaskSource, patches: Components, rows: int) -> list[Ints]:
    """The corners of each part; see `_corners`."""
    polygon_of = np.append(patches.of_piece, -1)
    found: list[Ints] = [np.empty(0, np.int64)]
    count = 0
    for part in run_blocks(source, rows):
        found.append(_corners(part, polygon_of[part.piece], source.height))
        count += len(found[-1])
        if count > MAX_CORNERS:
            raise DataError(
                f"more than {MAX_CORNERS:,} corners of polygons in the rows to {part.strip.rows.stop}; smooth the mask "
                "or drop small patches (--smooth, --mmu)"
            )
    return found


def _corner_table() -> NDArray[np.int64]:
    """Codes of up to two corners, -1 for none, by which of the four pixels around a point a polygon has.

    Bits and quadrants count north-west, north-east, south-west, south-east from 0. A corner's code says whether its
    horizontal side goes right and its vertical one down, and whether who keeps the polygon on the right leaves it
    horizontally.
    """
    table = np.full((16, 2), -1)
    for quadrant in range(4):
        right, down = quadrant & 1, quadrant >> 1
        sides = _RIGHT * right + _DOWN * down
        table[1 << quadrant, 0] = sides + _DEPARTS * (right == down)
        table[15 - (1 << quadrant), 0] = sides + _DEPARTS * (right != down)
    for diagonal, gaps in ((0b1001, (0b1101, 0b1011)), (0b0110, (0b1110, 0b0111))):
        table[diagonal] = [table[gap, 0] for gap in gaps]
    return table


_CORNERS = _corner_table()


def _corners(part: RunBlock, polygon: Ints, height: int) -> Ints:
    """Corners on the lines above a part's rows, and below the last row of the map.

    Args:
        part: of the map.
        polygon: (N,) that each run is of, -1 for none.
        height: rows of the map.

    Returns:
        (C,) ((polygon * (height + 1) + row) * (width + 1) + col) * 8 + code.
    """
    last = part.strip.rows.stop == height
    mask = np.pad(part.mask, ((0, int(last)), (1, 1)), constant_values=NODATA)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    turns = np.flatnonzero((across[1:] | across[:-1]) & (down[:, 1:] | down[:, :-1]))
    row, col = np.divmod(turns, part.width + 1)
    row += part.strip.row_off
    around = np.stack([_at(part, polygon, row - up, col - left, height) for up in (1, 0) for left in (1, 0)])
    found = []
    for quadrant, own in enumerate(around):
        same = around == own
        new = (own >= 0) & ~same[:quadrant].any(0)
        codes = _CORNERS[np.packbits(same, axis=0, bitorder="little")[0]]
        base = ((own * (height + 1) + row) * (part.width + 1) + col) * 8
        found += [(base + code)[new & (code >= 0)] for code in codes.T]
    return np.concatenate(found)


def _at(part: RunBlock, polygon: Ints, row: Ints, col: Ints, height: int) -> Ints:
    """The polygon at pixels of a part or beside the map, -1 for none."""
    run = np.searchsorted(part.start, row * part.width + col, "right") - 1
    return np.where((col >= 0) & (col < part.width) & (row < height), polygon[run], -1)


def _span(source: MaskSource) -> int:
    """What a corner's number grows by from one polygon to the next."""
    return (source.height + 1) * (source.width + 1) * 8


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
        departing = np.flatnonzero((some & _DEPARTS > 0) == clockwise).astype(np.int32)
        vertex, starts = _followed(departing, _across(some, source))
        row, col = np.divmod((some[vertex] % _span(source)) >> 3, source.width + 1)
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
    key = ((rest - row) * (source.width + 1) + col * (source.height + 1) + row) * 2 + (corners & _DOWN > 0)
    upper, lower = np.argsort(key).reshape(-1, 2).T
    across = np.empty(len(corners), np.int32)
    across[upper], across[lower] = lower, upper
    return across


def _followed(departing: NDArray[np.int32], across: NDArray[np.int32]) -> tuple[NDArray[np.int32], Ints]:
    """Follow the sides of outlines.

    Args:
        departing: corners that are left horizontally, to the neighbour in the list; ascending.
        across: (C,) the corner at the other end of each one's vertical side.

    Returns:
        Corners in the order of the rings, closed; (R + 1,) where each ring begins.
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
    scale, where = np.array(_gsd(source)), source.georeference.transform
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
