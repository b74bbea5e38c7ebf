"""Features written to files for a GIS, a phone or a spraying terminal; read back before the files get their names."""

import re
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray

from agriseg import files
from agriseg.errors import DataError, OutputError, StorageError
from agriseg.vectors.features import LONLAT, Features
from agriseg.vectors.geojson import write_geojson
from agriseg.vectors.geopackage import GEOMETRY, add_styles, read_styles
from agriseg.vectors.geoparquet import read_geoparquet, write_geoparquet
from agriseg.vectors.kml import read_kml
from agriseg.vectors.ogr import OGR_ERRORS, count_features, read_layer, reason

LONLAT_DECIMALS = 9
"""Decimals of degrees in text, 0.1 mm on the ground, so that the edges of small pixels stay apart."""

_ROUNDING = 1e-12  # degrees, where GDAL writes a number with 15 digits
_UNWRITABLE = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2, less \r
_RESERVED = ("fid", GEOMETRY, "geometry")
_HOLDS = {"Point": ("Point",), "Polygon": ("Polygon",), "MultiPolygon": ("Polygon", "MultiPolygon")}


@dataclass(frozen=True)
class _Format:
    """A format.

    Args:
        driver: its name in GDAL.
        lonlat: holds only longitude and latitude.
        layer: the only possible name of a layer; None for any.
        columns: the only possible columns, of text; None for any.
        points: holds only points.
    """

    driver: str
    lonlat: bool = True
    layer: str | None = None
    columns: tuple[str, ...] | None = None
    points: bool = False


_PIECE = 500_000  # vertices
_FORMATS = {
    ".geojson": _Format("GeoJSON"),
    ".gpx": _Format("GPX", layer="waypoints", columns=("name", "desc"), points=True),
    ".kml": _Format("KML", columns=("name", "description")),
    ".fgb": _Format("FlatGeobuf", lonlat=False),
    ".parquet": _Format("Parquet", lonlat=False),
}


def write_geopackage(path: Path, layers: Sequence[Features], styles: Mapping[str, str]) -> None:
    """Write or replace a GeoPackage 1.2 (later versions make QGIS 3.22 warn); an empty layer keeps its columns.

    Styles are QML by name of a layer; styles of other layers are left out.

    Raises:
        DataError: a shape or a text that cannot be written.
        StorageError: the file does not read back as it was written, or the disk is full.
    """
    for layer in layers:
        _check(path, layer)
    used = {layer.name: styles[layer.name] for layer in layers if layer.name in styles}
    with _draft(path) as draft:
        for layer in layers:
            _write_pieces(draft, layer)
        add_styles(draft, used)
        same = all(_same_pieces(layer, draft) for layer in layers)
        _confirm(path, same=same and read_styles(draft) == used)


def _write_pieces(draft: Path, layer: Features) -> None:
    """Add a layer to a GeoPackage in pieces, because writing takes memory for three copies of a piece."""
    for piece in _pieces(layer):
        part = _promoted(layer.part(piece))
        if piece.start:
            _write(draft, part, "GPKG", append=True)
        else:
            options = {"layer_options": {"GEOMETRY_NAME": GEOMETRY}, "dataset_options": {"VERSION": "1.2"}}
            _write(draft, part, "GPKG", **options)


def _same_pieces(layer: Features, draft: Path) -> bool:
    """Whether a layer of a GeoPackage reads back as it was written."""
    parts = ((_promoted(layer.part(piece)), read_layer(draft, layer.name, piece)) for piece in _pieces(layer))
    return count_features(draft, layer.name) == len(layer) and all(_same(written, read) for written, read in parts)


def _pieces(layer: Features) -> list[slice]:
    """Features with about `_PIECE` vertices each; at least one piece, which may be empty."""
    number = np.cumsum(shapely.get_num_coordinates(layer.shapes)) // _PIECE
    ends = [*np.flatnonzero(np.diff(number)) + 1, len(layer)]
    return [slice(int(start), int(stop)) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]


def write_features(path: Path, features: Features) -> None:
    """Write or replace a file of one layer in the format of its suffix.

    `.geojson` (RFC 7946), `.gpx` (points; columns `name` and `desc`) and `.kml` (columns `name` and `description`) hold
    longitude and latitude with 9 decimals; `.fgb` (in its own order) and `.parquet` (GeoParquet 1.1) keep the CRS.

    Raises:
        OutputError: another suffix, or columns or shapes that the format cannot hold.
        DataError: a shape or a text that cannot be written.
        StorageError: the file does not read back as it was written, or the disk is full.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise OutputError(f"{path}: cannot be written; expected {', '.join(_FORMATS)}")
    _check(path, features)
    written = _as_format(path, kind, _promoted(features))
    with _draft(path) as draft:
        _write_as(kind, draft, written)
        read = _read_as(kind, draft, written)
        if kind.driver == "FlatGeobuf":
            written, read = _in_order(written), _in_order(read)
        _confirm(path, same=_same(written, read, _ROUNDING if kind.lonlat else 0))


def _write_as(kind: _Format, draft: Path, features: Features) -> None:
    if kind.driver == "GeoJSON":
        write_geojson(draft, features)
    elif kind.driver == "Parquet":
        write_geoparquet(draft, features)
    else:
        _write(draft, features, kind.driver)


def _read_as(kind: _Format, draft: Path, written: Features) -> Features:
    if kind.driver == "Parquet":
        return read_geoparquet(draft)
    if kind.driver == "KML":
        return _promoted(replace(read_kml(draft), geometry_type=written.geometry_type))
    return read_layer(draft, kind.layer or 0)


def _check(path: Path, features: Features) -> None:
    """Refuse two columns of one name, a shape of another type or an empty one, and a text that no XML can hold."""
    names = [*_RESERVED, *(name.lower() for name in features.columns)]
    for name in features.columns:
        if names.count(name.lower()) > 1:
            raise OutputError(f"{path}: column {name!r} of {features.name} occurs twice, or has a reserved name")
    holds = _HOLDS.get(features.geometry_type)
    for number, shape in enumerate(features.shapes, 1):
        if shape is None or shape.is_empty or (holds and shape.geom_type not in holds):
            kind = "no geometry" if shape is None else f"{'an empty' if shape.is_empty else 'a'} {shape.geom_type}"
            raise DataError(f"{path}: feature {number} of {features.name} is {kind}, expected {features.geometry_type}")
    for name, values in features.columns.items():
        for number, text in enumerate(values if values.dtype == object else (), 1):
            if text is not None and _UNWRITABLE.search(text):
                raise DataError(f"{path}: {name} of feature {number} holds control characters; rename it")


def _promoted(features: Features) -> Features:
    """The features with polygons as multipolygons, if the layer is of these."""
    if features.geometry_type != "MultiPolygon" or not len(features):
        return features
    parts, index = shapely.get_parts(features.shapes, return_index=True)
    return replace(features, shapes=shapely.multipolygons(parts, indices=index))


def _as_format(path: Path, kind: _Format, features: Features) -> Features:
    if kind.columns is not None:
        fits = set(features.columns) <= set(kind.columns)
        if not fits or any(values.dtype != object for values in features.columns.values()):
            raise OutputError(f"{path}: holds texts {' and '.join(kind.columns)} alone; write a .geojson instead")
    if kind.points and features.geometry_type != "Point":
        raise OutputError(f"{path}: holds points alone; write a .geojson or .kml instead")
    features = replace(features, name=kind.layer or features.name)
    if not kind.lonlat:
        return features
    features = features.to_crs(LONLAT, path)
    left, _, right, _ = shapely.bounds(features.shapes).reshape(-1, 4).T
    if (right - left > 180).any():
        raise DataError(f"{path}: a shape crosses the 180th meridian; write a .gpkg, .fgb or .parquet instead")
    shapes = shapely.transform(features.shapes, lambda xy: np.round(xy, LONLAT_DECIMALS))
    return replace(features, shapes=shapely.orient_polygons(shapes))  # the right-hand rule of RFC 7946


def _write(path: Path, features: Features, driver: str, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # it is unknown
        pyogrio.raw.write(
            path, shapely.to_wkb(features.shapes), list(features.columns.values()), list(features.columns),
            layer=features.name, driver=driver, geometry_type=features.geometry_type,
            crs=features.crs.to_wkt() or None, **options,
        )  # fmt: skip


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """`files.draft_of`, with the errors of the libraries that write features."""
    with files.draft_of(path) as draft:
        try:
            yield draft
        except (pa.ArrowException, sqlite3.Error, *OGR_ERRORS) as error:
            raise StorageError(
                f"{path}: cannot be written, or not be read back ({reason(draft, error)}); check the disk"
            ) from error


def _confirm(path: Path, *, same: bool) -> None:
    if not same:
        raise StorageError(f"{path}: what was written is not what can be read back; check the disk, or another format")


def _same(written: Features, read: Features, tolerance: float = 0) -> bool:
    """Whether two layers have the same shapes, vertex by vertex, the same values and the same CRS."""
    columns = {name.lower(): values for name, values in read.columns.items()}  # KML calls a name Name
    return (
        len(written) == len(read)
        and written.crs in (read.crs, LONLAT)  # which comes back as EPSG:4326
        and bool(shapely.equals_exact(written.shapes, read.shapes, tolerance).all())
        and all(_equal(values, columns.get(name.lower())) for name, values in written.columns.items())
    )


def _equal(written: NDArray[Any], read: NDArray[Any] | None) -> bool:
    if read is None:
        return not len(written)  # text formats have columns with their first feature
    if written.dtype == object:
        return [text or "" for text in written] == [text or "" for text in read]
    return np.array_equal(written, read.astype(written.dtype), equal_nan=written.dtype.kind == "f")


def _in_order(features: Features) -> Features:
    """The features in the order of their bytes, to compare them with a format that has its own order."""
    values = [map(repr, features.columns[name].tolist()) for name in sorted(features.columns)]
    rows = zip(shapely.to_wkb(features.shapes), *values, strict=True)
    order = [index for _, index in sorted((row, index) for index, row in enumerate(rows))]
    columns = {name: values[order] for name, values in features.columns.items()}
    return replace(features, shapes=features.shapes[order], columns=columns)
