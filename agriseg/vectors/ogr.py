"""Layers read by pyogrio, which has a GDAL of its own beside rasterio's; both obey the same switches."""

import os
import textwrap
from pathlib import Path

import agriseg.raster.gdal_env  # noqa: F401  (sets what both obey: no network, no plugins)

# Read when pyogrio registers its drivers, so set before it is imported. These open what a file names.
os.environ["OGR_SKIP"] = "SQLite,MBTiles,OGR_VRT,GDALG"

import pyogrio
import shapely
from rasterio.crs import CRS

from agriseg.errors import DataError
from agriseg.vectors.features import Features

OGR_ERRORS = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError)
EPOCH = "1970-01-01T00:00:00.000Z"
pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": EPOCH})  # same input, same bytes


def reason(path: Path, error: Exception) -> str:
    """The error of a file as one short line: GDAL repeats paths, and writes several lines."""
    return " ".join(str(error).replace(str(path), path.name).split())[:100]


def count_features(path: Path, layer: str | int = 0) -> int:
    """Number of features of a layer, counted if the file does not store it."""
    return int(pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"])


def chosen_layer(path: Path, wanted: str | None) -> str:
    """The wanted layer, or the only one with shapes.

    Raises:
        OGR_ERRORS: the file cannot be read.
        DataError: no such layer, no layer with shapes, or several and none is wanted.
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


def read_layer(path: Path, layer: str | int = 0, part: slice | None = None, *, encoding: str | None = None) -> Features:
    """Read a layer, by name or number from 0, without heights: a part of its features, or all.

    GDAL lists tables without shapes last. The default encoding of texts is the one that the file names.

    Raises:
        OGR_ERRORS: it cannot be read.
        DataError: no shapes.
    """
    wanted = {} if part is None else {"skip_features": part.start, "max_features": part.stop - part.start or None}
    read = pyogrio.raw.read(path, layer=layer, force_2d=True, encoding=encoding, **wanted)
    meta, _, shapes, values = read
    if shapes is None:
        raise DataError(f"{path}: no shapes, a table alone; export the layer with its geometry")
    columns = dict(zip(meta["fields"], values, strict=True))
    wkt = meta["crs"] or ""
    crs = CRS() if not wkt or '"Undefined ' in wkt else CRS.from_user_input(wkt)  # GeoPackage, section 1.1.2.1.2
    return Features(str(layer), shapely.from_wkb(shapes), columns, crs, "Unknown")
