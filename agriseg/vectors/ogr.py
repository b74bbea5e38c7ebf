"""pyogrio as agriseg uses it. It carries a GDAL of its own, beside rasterio's, which obeys the same switches."""

import os
from pathlib import Path

import agriseg.raster.gdal  # noqa: F401  (sets what both obey: no network, no plugins)

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
    """What went wrong with a file, in one short line; GDAL repeats paths, and may tell several things."""
    return " ".join(str(error).replace(str(path), path.name).split())[:100]


def count_features(path: Path, layer: str | int = 0) -> int:
    """Features of a layer, the first if not named, counted if the file does not say."""
    return int(pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"])


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
    meta, _, shapes, values = pyogrio.raw.read(path, layer=layer, force_2d=True, **wanted)
    if shapes is None:
        raise DataError(f"{path}: no shapes, a table alone; export the layer with its geometry")
    columns = dict(zip(meta["fields"], values, strict=True))
    told = meta["crs"] or ""
    crs = CRS() if not told or '"Undefined ' in told else CRS.from_user_input(told)  # GeoPackage, section 1.1.2.1.2
    return Features(str(layer), shapely.from_wkb(shapes), columns, crs, "Unknown")
