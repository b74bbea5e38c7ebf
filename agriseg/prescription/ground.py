"""Where cells may be treated: wholly inside the field, and away from what is excluded."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from agriseg.errors import DataError
from agriseg.prescription.cells import Cells
from agriseg.prescription.spots import Mask
from agriseg.vectors.read import read_fields, read_shapes

LEAST_VALID = 0.5 - 1e-6  # areas are rounded
"""Of the ground of a cell that has data, where no boundary is given."""
_ROWS = 64  # of cells whose shapes are made at once
_INSET = 1e-6  # of a cell that may stick out: coordinates are rounded


@dataclass(frozen=True)
class FieldShape:
    """Boundaries and excluded shapes in the CRS of the cells.

    Args:
        field: union of all fields; None if the ground with data is the field.
        excluded: union of all excluded shapes; may be empty.
        buffer: metres to keep from them.
    """

    field: shapely.Geometry | None
    excluded: shapely.Geometry
    buffer: float


@dataclass(frozen=True)
class Ground:
    """Cells by their place: (rows, cols) bool, and `valid`.

    Args:
        inside: wholly inside the field.
        touched: inside or across its edge.
        excluded: at most the buffer away from an excluded shape.
        valid: (rows, cols) square metres of pixels with data.
    """

    inside: Mask
    touched: Mask
    excluded: Mask
    valid: NDArray[np.float64]

    @classmethod
    def of(cls, cells: Cells, valid: NDArray[np.float64], shape: FieldShape) -> "Ground":
        """The ground of cells that have (rows, cols) `valid` square metres of pixels with data."""
        if shape.field is None:
            inside, touched = valid >= LEAST_VALID * cells.areas, valid > 0
        else:
            field = cells.in_cells(shape.field)
            inside = _cells_that(cells, field, 0, _INSET, lambda boxes: shapely.covers(field, boxes))
            touched = _cells_that(cells, field, 0, _INSET, lambda boxes: shapely.intersects(field, boxes))
        reach = shape.buffer / cells.least_side
        water = cells.in_cells(shape.excluded)
        excluded = _cells_that(cells, water, reach, 0, lambda boxes: shapely.dwithin(water, boxes, reach))
        return cls(inside, touched, excluded, valid)

    @property
    def mapped(self) -> Mask:
        """Cells with a pixel that has data."""
        return self.valid > 0

    @cached_property
    def allowed(self) -> Mask:
        """Cells that may be treated."""
        return self.inside & ~self.excluded & self.mapped


def read_union(paths: Sequence[Path], crs: CRS, flag: str) -> shapely.Geometry:
    """Union of the shapes of files in a CRS; empty without files.

    Raises:
        InputMissing, DataError: a file cannot be read, or a shape is invalid.
    """
    shapes = []
    for path in paths:
        for each in read_shapes(path, crs):
            if each.shape.is_empty or not each.shape.is_valid:
                why = "empty" if each.shape.is_empty else shapely.is_valid_reason(each.shape)
                raise DataError(f"{path}: shape {each.number} of {flag} is no valid one: {why}; repair it in QGIS")
            shapes.append(each.shape)
    return shapely.union_all(shapes)


def read_field(path: Path, crs: CRS, column: str | None) -> shapely.Geometry:
    """Union of the fields of a file in a CRS.

    Raises:
        InputMissing, DataError: as `read_fields`.
    """
    return shapely.union_all([field.shape for field in read_fields(path, crs, column)])


def _cells_that(
    cells: Cells, shape: shapely.Geometry, reach: float, inset: float, holds: Callable[[NDArray[np.object_]], Mask]
) -> Mask:
    """(rows, cols) cells for whose squares `holds`; only those are asked that lie within reach of the shape's bounds.

    The shape and the reach are in cells. It is prepared, so that asking is fast.
    """
    found = np.zeros(cells.shape, bool)
    if shape.is_empty:
        return found
    shapely.prepare(shape)
    left, top, right, bottom = shapely.bounds(shape) + np.array([-1, -1, 1, 1]) * (reach + 1)
    cols = _part(left, right, cells.shape[1])
    for rows in _groups(_part(top, bottom, cells.shape[0])):
        if len(cols):
            found[rows.start : rows.stop, cols.start : cols.stop] = holds(cells.outlines(rows, cols, inset))
    return found


def _part(low: float, high: float, size: int) -> range:
    """Whole numbers from low to high within 0 to size."""
    return range(int(np.clip(np.floor(low), 0, size)), int(np.clip(np.ceil(high), 0, size)))


def _groups(rows: range) -> Iterator[range]:
    return (range(start, min(start + _ROWS, rows.stop)) for start in range(rows.start, rows.stop, _ROWS))
