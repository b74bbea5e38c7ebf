"""pyogrio as agriseg uses it. It carries a GDAL of its own, beside rasterio's, which obeys the same switches."""

import os
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import agriseg.raster.gdal_env  # noqa: F401  (sets what both obey: no network, no plugins)

# Read when pyogrio registers its drivers, so set before it is imported. These open what a file names.
os.environ["OGR_SKIP"] = "SQLite,MBTiles,OGR_VRT,GDALG"

import numpy as np
import pyogrio
import shapely
from rasterio.crs import CRS

from agriseg.errors import DataError
from agriseg.vectors.features import Features
from agriseg.vectors.shapefile_encoding import encoding_of, undecided

OGR_ERRORS = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError)
_BYTES = "ISO-8859-1"  # each byte is a letter; what GDAL cannot convert it would leave out
EPOCH = "1970-01-01T00:00:00.000Z"
pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": EPOCH})  # same input, same bytes


def reason(path: Path, error: Exception) -> str:
    """What went wrong with a file, in one short line; GDAL repeats paths, and may tell several things."""
    return " ".join(str(error).replace(str(path), path.name).split())[:100]


def count_features(path: Path, layer: str | int = 0) -> int:
    """Features of a layer, the first if not named, counted if the file does not say."""
    return int(pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"])


def chosen_layer(path: Path, wanted: str | None) -> str:
    """The layer that is asked for, or the only one with shapes.

    Raises:
        OGR_ERRORS: it cannot be read.
        DataError: no such layer, no layer with shapes, or several and none is asked for.
    """
    layers = [str(name) for name, shapes in pyogrio.list_layers(path) if shapes is not None]
    if wanted in layers:
        return str(wanted)
    listed = textwrap.shorten(", ".join(layers), 100, placeholder=" ...")
    if not layers:
        raise DataError(f"{path}: no shapes, a table alone; export the layer with its geometry")
    if wanted is not None:
        raise DataError(f"{path}: no layer {wanted!r}; it has {listed}: {path.name}:{layers[0]}")
    if len(layers) > 1:
        raise DataError(f"{path}: {len(layers)} layers ({listed}); name one behind the file: {path.name}:{layers[-1]}")
    return layers[0]


def read_layer(path: Path, layer: str | int = 0, part: slice | None = None) -> Features:
    """Read a layer without heights.

    Args:
        path: of a format that this GDAL knows.
        layer: its name, or its number from 0; GDAL names tables without shapes last.
        part: of its features; None for all.

    Raises:
        OGR_ERRORS: it cannot be read.
        DataError: no shapes.
    """
    wanted = {} if part is None else {"skip_features": part.start, "max_features": part.stop - part.start or None}
    return _features(path, pyogrio.raw.read(path, layer=layer, force_2d=True, **wanted), str(layer))


def read_shapefile(path: Path) -> Features:
    """Read a shapefile, its texts in the encoding that they have.

    Raises:
        OGR_ERRORS: it cannot be read.
        DataError: no shapes, or nothing says the encoding of its texts, which are not UTF-8.
    """
    raw = _features(path, pyogrio.raw.read(path, force_2d=True, encoding=_BYTES), path.stem)
    for encoding in encoding_of(path):
        try:
            return _decoded(raw, encoding)
        except UnicodeDecodeError:
            continue
    raise undecided(path)


def _decoded(raw: Features, encoding: str) -> Features:
    """Names and texts of columns, of which each letter is a byte, in their encoding."""

    def decoded(text: Any) -> Any:
        return text.encode(_BYTES).decode(encoding) if isinstance(text, str) else text

    columns = {}
    for name, values in raw.columns.items():
        texts = np.array([decoded(text) for text in values] + [None], object)[:-1] if values.dtype == object else values
        columns[decoded(name)] = texts
    return replace(raw, columns=columns)


def _features(path: Path, read: tuple[Any, ...], name: str) -> Features:
    meta, _, shapes, values = read
    if shapes is None:
        raise DataError(f"{path}: no shapes, a table alone; export the layer with its geometry")
    columns = dict(zip(meta["fields"], values, strict=True))
    told = meta["crs"] or ""
    crs = CRS() if not told or '"Undefined ' in told else CRS.from_user_input(told)  # GeoPackage, section 1.1.2.1.2
    return Features(name, shapely.from_wkb(shapes), columns, crs, "Unknown")
