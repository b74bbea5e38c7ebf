"""Polygons with a class, read from GeoJSON, GeoPackage or Shapefile."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyogrio
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform_geom

from agriseg.errors import DataError
from agriseg.raster.door import check_regular

_JSON = (".geojson", ".json")
_MAGIC = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a"}
_LONLAT = CRS.from_user_input("OGC:CRS84")
_AREAS = ("Polygon", "MultiPolygon")


@dataclass(frozen=True)
class Polygon:
    """One feature.

    Args:
        number: of the feature in its file, from 1.
        shape: a polygon or multipolygon in the CRS asked for; may be empty or invalid.
        label: text of the class column; None without a column or a value.
    """

    number: int
    shape: shapely.Geometry
    label: str | None


def is_vector(path: Path) -> bool:
    """Whether the name is that of polygons."""
    return path.suffix.lower() in (*_JSON, *_MAGIC)


def read_polygons(path: Path, crs: CRS, column: str | None = None) -> list[Polygon]:
    """Read all polygons and carry them to a CRS.

    Args:
        path: `.geojson`, `.json`, `.gpkg` (its first layer) or `.shp`.
        crs: of the result.
        column: that holds the class; None for an area of interest.

    Raises:
        InputMissing: no such file.
        DataError: another format, damaged, no CRS, no such column, or features that are no polygons.
    """
    check_regular(path)
    if path.suffix.lower() in _JSON:
        features, own = _geojson(path)
    elif path.suffix.lower() in _MAGIC:
        features, own = _ogr(path)
    else:
        raise DataError(f"{path}: expected .geojson, .gpkg or .shp; export the layer as one of these")
    if not features:
        raise DataError(f"{path}: no features; is it the right layer?")
    polygons = []
    for number, (geometry, properties) in enumerate(features, 1):
        if column is not None and column not in properties:
            raise DataError(f"{path}: no column {column!r}; it has {', '.join(map(str, properties)) or 'none'}")
        if geometry is None or geometry["type"] not in _AREAS:
            kind = "no geometry" if geometry is None else f"a {geometry['type']}"
            raise DataError(f"{path}: feature {number} is {kind}, expected polygons")
        value = None if column is None else properties[column]
        try:
            shape = shapely.geometry.shape(transform_geom(own, crs, geometry) if own != crs else geometry)
        except (shapely.errors.ShapelyError, ValueError, TypeError, IndexError, KeyError, CRSError) as error:
            raise DataError(f"{path}: feature {number} is no polygon ({error})") from error
        polygons.append(Polygon(number, shape, None if value is None else str(value)))
    return polygons


Feature = tuple[dict[str, Any] | None, dict[str, Any]]


def _geojson(path: Path) -> tuple[list[Feature], CRS]:
    """Read without GDAL: longitude and latitude (RFC 7946), or the CRS that older files name."""
    try:
        tree = json.loads(path.read_text("utf-8"))
        features: list[Feature] = [(each["geometry"], each.get("properties") or {}) for each in tree["features"]]
        named = tree.get("crs", {}).get("properties", {}).get("name")
        return features, CRS.from_user_input(named) if named else _LONLAT
    except (ValueError, KeyError, TypeError, AttributeError, CRSError) as error:
        raise DataError(f"{path}: no GeoJSON feature collection ({error}); export it again") from error


def _ogr(path: Path) -> tuple[list[Feature], CRS]:
    with path.open("rb") as file:
        if not file.read(16).startswith(_MAGIC[path.suffix.lower()]):
            raise DataError(f"{path}: is no {path.suffix[1:].upper()}; export the layer again")
    try:
        meta, _, shapes, columns = pyogrio.raw.read(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); export the layer again") from error
    if not meta["crs"]:
        raise DataError(f"{path}: no coordinate reference system; set it before the export")
    features: list[Feature] = []
    for index, wkb in enumerate(shapes):
        geometry = None if wkb is None else dict(shapely.geometry.mapping(shapely.force_2d(shapely.from_wkb(wkb))))
        features.append((geometry, {name: values[index] for name, values in zip(meta["fields"], columns, strict=True)}))
    return features, CRS.from_user_input(meta["crs"])
