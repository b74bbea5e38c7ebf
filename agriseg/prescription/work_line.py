"""The line of work that the cells lie along."""

import math
from pathlib import Path

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform as warp

from agriseg.analysis.metric_grid import field_heading, metric_transform
from agriseg.errors import DataError, UsageError
from agriseg.maps.reader import MaskSource
from agriseg.options.prescription import LonLatLine, RxOptions
from agriseg.prescription.cells import Cells, Floats
from agriseg.raster.gdal_env import gdal_calls
from agriseg.vectors.features import LONLAT, moved
from agriseg.vectors.read import read_shapes


def turned_cells(source: MaskSource, options: RxOptions, field: shapely.Geometry | None) -> Cells:
    """Squares along the line of work of the options.

    Args:
        field: in the map's CRS, for `--heading auto`; None takes the valid pixels of the map.

    Raises:
        DataError: the map has no ground or no valid pixel, or the line is none or not on the Earth.
        UsageError: cells are too small or too many.
    """
    side = float(options.cell or 0)
    if options.ab is not None:
        ends = _line_in_pixels(source, options.ab)
        return Cells.turned(source, side, _heading_of(source, ends), (float(ends[0, 0]), float(ends[0, 1])))
    if options.heading not in (None, "auto"):
        return Cells.turned(source, side, float(options.heading or 0))
    return Cells.turned(source, side, field_heading(source) if field is None else _longest_side(source, field))


def _line_in_pixels(source: MaskSource, line: LonLatLine | Path) -> Floats:
    """(2, 2) column and row of the ends of a line."""
    crs = source.georeference.crs
    if crs is None:
        raise DataError("the map has no CRS, so --ab lies nowhere on it; give the raster one with gdal_edit.py")
    if isinstance(line, Path):
        ends = _ends_in_file(line, crs)
    else:
        west, south, east, north = line
        with gdal_calls("--ab: no place on the map; give longitude before latitude"):
            ends = np.transpose(warp(LONLAT, crs, [west, east], [south, north]))
    if not np.isfinite(ends).all():
        raise UsageError("--ab: no place on the Earth; give longitude before latitude: LON,LAT,LON,LAT")
    cols, rows = ~source.georeference.transform @ (ends[:, 0], ends[:, 1])
    return np.stack([cols, rows], axis=1)


def _ends_in_file(path: Path, crs: CRS) -> Floats:
    shapes = read_shapes(path, crs)
    if len(shapes) != 1 or shapes[0].shape.geom_type != "LineString":
        raise DataError(f"{path}: expected one line for --ab; export the line from A to B alone")
    return np.asarray(shapely.get_coordinates(shapes[0].shape), np.float64)[[0, -1]]


def _heading_of(source: MaskSource, ends: Floats) -> float:
    """Heading of a line between (2, 2) columns and rows, as `CellGrid.over` takes it."""
    plane = metric_transform(source)
    right, down = (ends[1] - ends[0]) * (plane.a, plane.e)
    if math.hypot(right, down) < 1:
        raise UsageError("--ab: the two points are less than 1 m apart; give points at the ends of the field")
    mirrored = source.georeference.transform.determinant > 0
    return math.degrees(math.atan2(right, -down)) * (-1 if mirrored else 1)


def _longest_side(source: MaskSource, field: shapely.Geometry) -> float:
    """Heading of the longest side of the smallest rectangle around a field in the map's CRS."""
    in_pixels = moved(field, ~source.georeference.transform)
    plane = metric_transform(source)
    rectangle = shapely.oriented_envelope(shapely.transform(in_pixels, lambda xy: xy * [plane.a, plane.e]))
    corners = shapely.get_coordinates(rectangle) / [plane.a, plane.e]
    sides = [corners[0:2], corners[1:3]]
    longest = max(sides, key=lambda side: float(np.hypot(*((side[1] - side[0]) * (plane.a, plane.e)))))
    return round(_heading_of(source, longest) % 180, 2) % 180
