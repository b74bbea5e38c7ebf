"""The features of a file: shapes, columns and CRS."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as warp

from agriseg.errors import DataError
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.georeference import crs_name

S = TypeVar("S", shapely.Geometry, NDArray[np.object_])
GeometryType = Literal["Point", "Polygon", "MultiPolygon", "Unknown"]

LONLAT = CRS.from_user_input("OGC:CRS84")
"""Longitude, then latitude in degrees on WGS 84."""

MAX_FEATURES = 500_000
"""Limit of one file, far above a farm's fields or a trial's plots."""


@dataclass(frozen=True)
class Features:
    """A layer of a vector file.

    Args:
        name: of the layer.
        shapes: (N,) shapely geometries.
        columns: name to (N,) values: int64, float64 with NaN for none, or objects of str.
        crs: of the shapes; `CRS()` if unknown.
        geometry_type: of the layer, also of an empty one, as OGR names it: `Point`, `Polygon`, `MultiPolygon` (single
            polygons are promoted), or `Unknown` for any.
        crs_assumed: the file names no CRS, and `crs` is the default of its format.
    """

    name: str
    shapes: NDArray[np.object_]
    columns: Mapping[str, NDArray[Any]]
    crs: CRS
    geometry_type: GeometryType = "MultiPolygon"
    crs_assumed: bool = False

    def __len__(self) -> int:
        return len(self.shapes)

    def part(self, piece: slice) -> "Features":
        """Some of the features."""
        columns = {name: values[piece] for name, values in self.columns.items()}
        return replace(self, shapes=self.shapes[piece], columns=columns)

    def to_crs(self, crs: CRS, path: Path) -> "Features":
        """The features with each vertex in another CRS; errors name their file.

        Raises:
            DataError: their CRS is unknown, or a vertex is outside the area of a CRS.
        """
        if not self.crs:
            raise DataError(
                f"{path}: no coordinate reference system, so the place of the shapes is unknown; set it first"
            )
        if self.crs == crs:
            return self

        def reproject(xy: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.stack(warp(self.crs, crs, xy[:, 0], xy[:, 1]), axis=1) if len(xy) else xy

        with gdal_calls(f"{path}: shapes that cannot be carried to {crs_name(crs)}; is the file's own CRS right?"):
            shapes = shapely.transform(self.shapes, reproject)
        xy, index = shapely.get_coordinates(shapes, return_index=True)
        lost = index[~np.isfinite(xy).all(axis=1)]
        if lost.size:
            raise DataError(
                f"{path}: feature {lost[0] + 1} is nowhere in {crs_name(crs)}; is the file's own CRS right?"
            )
        return replace(self, shapes=shapes, crs=crs)


def check_count(path: Path, count: int) -> None:
    """Raise `DataError` for more than `MAX_FEATURES`, before their shapes are made."""
    if count > MAX_FEATURES:
        raise DataError(f"{path}: more than {MAX_FEATURES:,} features, which is the limit; split the file")


def moved(shapes: S, to: rasterio.Affine) -> S:
    """A shape, or an array of shapes, with each vertex (x, y) at `to @ (x, y)`."""
    result: S = shapely.transform(shapes, lambda xy: np.stack(to @ (xy[:, 0], xy[:, 1]), axis=1))
    return result
