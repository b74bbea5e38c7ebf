"""Neighbouring cells of one rate as one polygon."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray

from agriseg.machine_files.prescription import Prescription
from agriseg.vectors.features import Features, moved

_STRAIGHT = 50.0
"""Metres between vertices on a side: a side that is straight in UTM is off by 0.1 mm where it is drawn in degrees."""


@dataclass(frozen=True)
class Zones:
    """Polygons that cover the grid without overlap, rate 0 included: no machine is left to a rate of its own.

    Args:
        shapes: in the CRS of the prescription.
        rates: (N,) float64.
    """

    shapes: Features
    rates: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rates)

    def in_crs(self, crs: rasterio.crs.CRS, path: Path) -> NDArray[np.object_]:
        """(N,) the polygons in another CRS; errors name the file that they are for."""
        return self.shapes.to_crs(crs, path).shapes


def zones_of(prescription: Prescription) -> Zones:
    """Polygons of neighbouring cells (by a side) that have one rate."""
    values, numbers = np.unique(prescription.rates, return_inverse=True)
    labels = numbers.reshape(prescription.rates.shape).astype(np.int32)
    found = [(shape["coordinates"], int(label)) for shape, label in rasterio.features.shapes(labels)]
    rings = [ring for polygon, _ in found for ring in polygon]
    corners = np.concatenate([np.asarray(ring) for ring in rings])
    ring_ends = np.cumsum([0, *(len(ring) for ring in rings)])
    polygon_ends = np.cumsum([0, *(len(polygon) for polygon, _ in found)])
    step = _vertex_step(prescription)
    if step:
        corners, ring_ends = _with_vertices(corners, ring_ends, step)
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, corners, (ring_ends, polygon_ends))
    place = prescription.georeference
    shapes = Features(prescription.name, moved(polygons, place.transform), {}, place.crs, "Polygon")
    return Zones(shapes, values[[label for _, label in found]])


def _vertex_step(prescription: Prescription) -> int:
    """Cells between the vertices of a straight side; 0 where sides along the degrees need none."""
    place = prescription.georeference
    if place.crs is not None and place.crs.is_geographic:
        return 0
    rows, cols = prescription.rates.shape
    sides = place.gsd(cols, rows)
    return 0 if sides is None else max(1, int(_STRAIGHT / max(sides)))


def _with_vertices(
    corners: NDArray[np.float64], ring_ends: NDArray[np.int64], step: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rings in cells with a vertex at each multiple of `step` along their sides: neighbours share them.

    Args:
        corners: (N, 2) of closed rings, one after the other.
        ring_ends: (R + 1,) where each ring begins, and where the last one ends.
    """
    start, end = corners, np.roll(corners, -1, axis=0)
    end[ring_ends[1:] - 1] = start[ring_ends[1:] - 1]  # the last corner of a ring begins no side
    axis = (start[:, 0] == end[:, 0]).astype(np.int64)
    at, to = (np.take_along_axis(xy, axis[:, np.newaxis], 1)[:, 0] for xy in (start, end))
    low, high = np.minimum(at, to), np.maximum(at, to)
    first = np.floor(low / step) + 1
    between = np.maximum(np.ceil(high / step) - first, 0).astype(np.int64)
    side = np.repeat(np.arange(len(corners)), between + 1)
    number = np.arange(len(side)) - np.repeat(np.cumsum(between + 1) - between - 1, between + 1)  # 0 is the corner
    forward = first[side] + number - 1
    backward = first[side] + between[side] - number
    vertices = corners[side]
    added = np.flatnonzero(number)
    vertices[added, axis[side[added]]] = step * np.where((to > at)[side], forward, backward)[added]
    ends = np.concatenate([[0], np.cumsum(between + 1)])
    return vertices, ends[ring_ends]
