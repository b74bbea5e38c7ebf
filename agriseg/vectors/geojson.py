"""GeoJSON (RFC 7946) without GDAL, which shortens numbers: it writes 48.755000006 as 48.755."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from agriseg.errors import DataError
from agriseg.vectors.features import LONLAT, Features, check_count

SHAPES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")
"""Types of geometry."""

_RECORD = "\x1e"  # before each text of RFC 8142


def read_geojson(path: Path) -> Features:
    """Read all features: longitude and latitude, or the CRS that older files name; heights are left out.

    A collection, one feature, a bare geometry (each member of a geometry collection is a feature), or one feature
    a line (`.geojsonl`).

    Raises:
        DataError: damaged, another kind of JSON, too many features, or a shape that is none.
    """
    tree = _parsed(path)
    features = _features(path, tree)
    check_count(path, len(features))
    shapes = np.empty(len(features), object)
    rows: list[dict[str, Any]] = []
    for index, feature in enumerate(features):
        if not isinstance(feature, dict):
            raise DataError(f"{path}: feature {index + 1} is no JSON object; export the layer again")
        shapes[index] = _shape(path, index + 1, feature.get("geometry"))
        properties = feature.get("properties")
        rows.append(properties if isinstance(properties, dict) else {})
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        columns[name] = np.empty(len(rows), object)
        columns[name][:] = [row.get(name) for row in rows]
    crs = tree.get("crs") if isinstance(tree, dict) else None
    return Features(path.stem, shapes, columns, _crs(path, crs), "Unknown", crs_assumed=crs is None)


def _parsed(path: Path) -> Any:
    """The file as JSON; a file of one feature a line as a collection."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no UTF-8 text, as GeoJSON is; export the layer again") from error
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            lines = [line for line in (line.strip(f"{_RECORD} \t\r") for line in text.split("\n")) if line]
            return {"type": "FeatureCollection", "features": [json.loads(line) for line in lines]}
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged or cut off, no JSON; export the layer again") from error


def _features(path: Path, tree: Any) -> Sequence[Any]:
    tree = tree if isinstance(tree, dict) else {}
    kind, many, members = tree.get("type"), tree.get("features"), tree.get("geometries")
    if kind in ("FeatureCollection", None) and isinstance(many, list):
        return many
    if kind == "Feature":
        return [tree]
    if kind == "GeometryCollection" and isinstance(members, list):
        return [{"geometry": member} for member in members]
    if kind in SHAPES:
        return [{"geometry": tree}]
    fault = f", its type is {kind[:40]!r}" if isinstance(kind, str) else ""
    raise DataError(f"{path}: no GeoJSON feature collection, feature or geometry{fault}; export it as GeoJSON")


def _crs(path: Path, crs: Any) -> CRS:
    if crs is None:
        return LONLAT
    try:
        names = crs["properties"]
        return CRS.from_user_input(names["name"] if "name" in names else f"EPSG:{int(names['code'])}")
    except (KeyError, TypeError, ValueError, CRSError) as error:
        raise DataError(f"{path}: names a CRS that is not known; export it as EPSG:4326") from error


def _shape(path: Path, number: int, geometry: Any) -> shapely.Geometry | None:
    if isinstance(geometry, dict) and ("rings" in geometry or "paths" in geometry):
        raise DataError(f"{path}: Esri JSON, expected GeoJSON; export the layer as GeoJSON")
    try:
        with np.errstate(invalid="ignore"):  # the readers of features refuse numbers that are not finite
            return None if geometry is None else shapely.force_2d(shapely.geometry.shape(geometry))
    except (shapely.errors.ShapelyError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}: feature {number} is no polygon and no other shape of GeoJSON; export the layer again"
        ) from error


def write_geojson(path: Path, features: Features) -> None:
    """Write features in longitude and latitude, one a line; raises `ValueError` for an infinite number."""
    columns = {  # NaN is null
        name: [None if value != value else value for value in values.tolist()]
        for name, values in features.columns.items()
    }
    with path.open("x", encoding="utf-8") as file:
        name = json.dumps(features.name, ensure_ascii=False)
        file.write(f'{{"type": "FeatureCollection", "name": {name}, "features": [')
        for index, shape in enumerate(shapely.to_geojson(features.shapes)):
            values = {name: column[index] for name, column in columns.items()}
            properties = json.dumps(values, ensure_ascii=False, allow_nan=False)
            separator = ",\n" if index else "\n"
            file.write(f'{separator}{{"type": "Feature", "properties": {properties}, "geometry": {shape}}}')
        file.write("\n]}\n")
