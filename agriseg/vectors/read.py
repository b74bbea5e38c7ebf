"""Polygons read from GeoJSON, KML, GeoPackage or Shapefile: with a class, or as named fields and plots."""

import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError

from agriseg.errors import DataError
from agriseg.raster.safe_open import check_regular
from agriseg.vectors.features import LONLAT, Features, check_count
from agriseg.vectors.geojson import SHAPES, read_geojson
from agriseg.vectors.kml import read_kml
from agriseg.vectors.ogr import OGR_ERRORS, chosen_layer, count_features, read_layer, reason
from agriseg.vectors.shapefile import read_shapefile

_JSON = (".geojson", ".json", ".geojsonl", ".geojsons", ".ndjson")
_MAGIC = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a"}
_AREAS = ("Polygon", "MultiPolygon")
_NAMES = ("name", "Name", "NAME", "field", "id", "plot")
_LONGITUDE, _LATITUDE = 360, 90  # degrees; shapes across the 180th meridian go beyond 180
_LAYERED = re.compile(r"(.+?\.gpkg):(.+)", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # no XML, and no terminal, shows these


@dataclass(frozen=True)
class Polygon:
    """One feature.

    Args:
        number: of the feature in its file, from 1.
        shape: in the wanted CRS; may be empty or invalid.
        label: text of the class column; None without a column or a value.
    """

    number: int
    shape: shapely.Geometry
    label: str | None


@dataclass(frozen=True)
class Field:
    """A field, plot or zone.

    Args:
        name: unique in its file.
        shape: a valid polygon or multipolygon in the raster's CRS; its holes are obstacles.
    """

    name: str
    shape: shapely.Geometry


def is_vector(path: Path) -> bool:
    """Whether a file has the suffix of a vector format."""
    return layered(path)[0].suffix.lower() in (*_JSON, ".kml", *_MAGIC)


def read_polygons(path: Path, crs: CRS, column: str | None = None) -> list[Polygon]:
    """Read all polygons and reproject them.

    Args:
        path: `.geojson` and the like, `.kml` (all its folders), `.shp`, or `.gpkg`; if it has several layers of
            shapes, with the layer behind its name: `farm.gpkg:fields`.
        crs: of the result.
        column: with the class; None for an area of interest.

    Raises:
        InputMissing: no such file.
        DataError: another format, damaged, no CRS, no such column, more than 500,000 features, or one that is no
            polygon.
    """
    return _labelled(path, crs, column, _AREAS)


def read_shapes(path: Path, crs: CRS | None, column: str | None = None) -> list[Polygon]:
    """Read polygons, points and lines.

    Args:
        path, column: as `read_polygons`.
        crs: of the result; None keeps the coordinates of a file that names no CRS.

    Raises:
        InputMissing, DataError: as `read_polygons`; or the file has a CRS though `crs` is None.
    """
    return _labelled(path, crs, column, SHAPES)


def read_fields(path: Path, crs: CRS, column: str | None = None) -> list[Field]:
    """Read boundaries of fields or plots, each with its own name, and reproject them.

    Args:
        path, crs: as `read_polygons`.
        column: with the names; spaces around them do not count. None takes the one of `name`, `Name`, `NAME`,
            `field`, `id` and `plot` that has values; if there is none, or several, fields are numbered from 1.

    Raises:
        InputMissing, DataError: as `read_polygons`; or a name is missing, used twice or with control characters; or a
            polygon is empty or invalid.
    """
    features = _features(path)
    names = _field_names(path, features, column)
    shapes = _shapes(path, features, crs, _AREAS)
    for each in (features.shapes, shapes):  # first in the file's own coordinates, which the message then has
        _check_valid(path, each)
    return [Field(*each) for each in zip(names, shapes, strict=True)]


def _features(path: Path) -> Features:
    file, layer = layered(path)
    check_regular(file)
    features = _read(file, layer)
    if not len(features):
        raise DataError(f"{path}: no features; is it the right layer?")
    return features


def _read(path: Path, layer: str | None) -> Features:
    suffix = path.suffix.lower()
    if suffix == ".kmz":
        raise DataError(f"{path}: a packed KML; unpack it (it is a ZIP file) and give the .kml in it")
    if suffix in _JSON:
        return read_geojson(path)
    if suffix == ".kml":
        return read_kml(path)
    if suffix in _MAGIC:
        return _ogr(path, layer)
    raise DataError(f"{path}: expected .geojson, .kml, .gpkg or .shp; export the layer as one of these")


def _ogr(path: Path, layer: str | None) -> Features:
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        if not file.read(16).startswith(_MAGIC[suffix]):
            raise DataError(f"{path}: is no {path.suffix[1:].upper()}; export the layer again")
    try:
        name = 0 if suffix == ".shp" else chosen_layer(path, layer)
        check_count(path, count_features(path, name))
        return read_shapefile(path) if suffix == ".shp" else read_layer(path, name)
    except DataError:
        raise
    except (*OGR_ERRORS, shapely.errors.ShapelyError, CRSError) as error:
        raise DataError(f"{path}: cannot be read ({reason(path, error)}); export the layer again") from error


def _labelled(path: Path, crs: CRS | None, column: str | None, kinds: Sequence[str]) -> list[Polygon]:
    features = _features(path)
    labels = [None] * len(features) if column is None else _texts(path, features, column)
    shapes = _shapes(path, features, crs, kinds)
    return [Polygon(number, *each) for number, each in enumerate(zip(shapes, labels, strict=True), 1)]


def _shapes(path: Path, features: Features, crs: CRS | None, kinds: Sequence[str]) -> NDArray[np.object_]:
    """Shapes of some types in a CRS; other types are refused."""
    if crs is None and features.crs and not features.crs_assumed:
        raise DataError(f"{path}: has a CRS, but the image has none, so the shapes lie nowhere on it")
    shapes = np.array([_joined(shape) for shape in features.shapes], object)
    for number, shape in enumerate(shapes, 1):
        if shape is None or shape.geom_type not in kinds:
            kind = "no geometry" if shape is None else f"a {shape.geom_type}"
            raise DataError(f"{path}: feature {number} is {kind}, expected polygons")
    joined = replace(features, shapes=shapes, crs=CRS() if crs is None else features.crs)
    _check_coordinates(path, joined)
    return shapes if crs is None else joined.to_crs(crs, path).shapes


def _joined(shape: shapely.Geometry | None) -> shapely.Geometry | None:
    """A collection of polygons as one multipolygon; other shapes as they are."""
    if shape is None or shape.geom_type != "GeometryCollection":
        return shape
    members = shapely.get_parts(shape)
    if not len(members) or any(member.geom_type not in _AREAS for member in members):
        return shape
    return shapely.MultiPolygon(list(shapely.get_parts(members)))


def _check_coordinates(path: Path, features: Features) -> None:
    """Refuse a number that is not finite, and longitude and latitude beyond the globe."""
    xy, index = shapely.get_coordinates(features.shapes, return_index=True)
    for number in index[~np.isfinite(xy).all(1)][:1] + 1:
        raise DataError(f"{path}: feature {number} has a coordinate that is no number; export the layer again")
    beyond = (np.abs(xy) > (_LONGITUDE, _LATITUDE)).any(1) & (features.crs == LONLAT)
    for first in np.flatnonzero(beyond)[:1]:
        x, y = xy[first]
        raise DataError(
            f"{path}: feature {index[first] + 1} lies at {x:.10g}, {y:.10g}, which is no longitude and latitude, and "
            "the file names no other CRS; export it as EPSG:4326"
        )


def _check_valid(path: Path, shapes: NDArray[np.object_]) -> None:
    for index in np.flatnonzero(shapely.is_empty(shapes))[:1]:
        raise DataError(f"{path}: feature {index + 1} is empty; delete it, or draw it again")
    for index in np.flatnonzero(~shapely.is_valid(shapes))[:1]:
        why = shapely.is_valid_reason(shapes[index])
        raise DataError(f"{path}: feature {index + 1} is no valid polygon: {why}; repair it (QGIS: Fix geometries)")


def _texts(path: Path, features: Features, column: str) -> list[str | None]:
    """A column as text; None for no value."""
    if column not in features.columns:
        columns = ", ".join(list(features.columns)[:12]) or "none"
        raise DataError(f"{path}: no column {column!r}; it has {columns}")
    return [_text(value) for value in features.columns[column]]


def _text(value: Any) -> str | None:
    """A value as text; whole numbers without decimals, as 1 and 1.0 are one class."""
    if value is None or value != value:  # NaN
        return None
    return str(int(value)) if isinstance(value, float | np.floating) and value.is_integer() else str(value)


def _field_names(path: Path, features: Features, column: str | None) -> list[str]:
    if column is None:
        filled = [name for name in _NAMES if name in features.columns and any(_texts(path, features, name))]
        if len(filled) != 1:
            return [str(number) for number in range(1, len(features) + 1)]
        column = filled[0]
    names = [(text or "").strip() for text in _texts(path, features, column)]
    _check_names(path, names, column)
    return names


def _check_names(path: Path, names: Sequence[str], column: str) -> None:
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{path}: feature {number} has no {column!r}; give each field a name, or another column")
        if _CONTROL.search(name):
            raise DataError(f"{path}: feature {number} has control characters in {column!r}; rename it")
        if name in first:
            raise DataError(
                f"{path}: features {first[name]} and {number} are both {reprlib.repr(name)} in {column!r}; "
                "names must differ: rename one, or name another column"
            )
        first[name] = number


def layered(path: Path) -> tuple[Path, str | None]:
    """The file and its layer; None where no layer is named.

    >>> layered(Path("farm.gpkg:fields"))[1]
    'fields'
    """
    match = _LAYERED.fullmatch(str(path))
    return (path, None) if match is None or path.exists() else (Path(match[1]), match[2])
