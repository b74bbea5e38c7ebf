"""Neighbouring cells of one rate as one polygon."""

import itertools
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
    found = [(shapely.geometry.shape(shape), int(label)) for shape, label in rasterio.features.shapes(labels)]
    step = _vertex_step(prescription)
    polygons = np.array([_with_vertices(polygon, step) for polygon, _ in found], object)
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


def _with_vertices(polygon: shapely.Polygon, step: int) -> shapely.Polygon:
    """A polygon in cells, with a vertex at each multiple of `step` along its sides: neighbours share them."""
    if not step:
        return polygon
    return shapely.Polygon(
        _ring_vertices(polygon.exterior, step), [_ring_vertices(ring, step) for ring in polygon.interiors]
    )


def _ring_vertices(ring: shapely.LinearRing, step: int) -> NDArray[np.float64]:
    corners = shapely.get_coordinates(ring)
    pieces = [_side(start, end, step) for start, end in itertools.pairwise(corners)]
    return np.concatenate([*pieces, corners[:1]])


def _side(start: NDArray[np.float64], end: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """The vertices of a side without its end."""
    axis = int(start[0] == end[0])
    low, high = sorted((start[axis], end[axis]))
    between = np.arange(np.floor(low / step) + 1, np.ceil(high / step)) * step
    side = np.repeat(start[np.newaxis], len(between) + 1, axis=0)
    side[1:, axis] = between if end[axis] > start[axis] else between[::-1]
    return side
