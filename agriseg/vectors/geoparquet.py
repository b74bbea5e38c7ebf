"""GeoParquet 1.1: a table of columns with shapes as WKB, by pyarrow, since GDAL in wheels has no such driver.

Source: https://geoparquet.org/releases/v1.1.0/
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from rasterio.crs import CRS

from agriseg.json_text import json_line
from agriseg.vectors.features import Features

_GEOMETRY = "geometry"


def write_geoparquet(path: Path, features: Features) -> None:
    """Write a file, zstd; raises `pa.ArrowException` if a column is neither numbers nor text."""
    columns = {}
    for name, values in features.columns.items():
        kind = pa.string() if values.dtype == object else pa.from_numpy_dtype(values.dtype)
        columns[name] = pa.array(values, from_pandas=True, type=kind)
    columns[_GEOMETRY] = pa.array(shapely.to_wkb(features.shapes).tolist(), pa.binary())
    kinds = {shape.geom_type for shape in features.shapes} or {features.geometry_type} - {"Unknown"}
    geometry = {"encoding": "WKB", "geometry_types": sorted(kinds), "crs": features.crs.to_dict(projjson=True) or None}
    if len(features):
        geometry["bbox"] = shapely.total_bounds(features.shapes).tolist()
    meta = {"version": "1.1.0", "primary_column": _GEOMETRY, "columns": {_GEOMETRY: geometry}}
    table = pa.table(columns).replace_schema_metadata({"geo": json_line(meta)})
    pq.write_table(table, path, compression="zstd")


def read_geoparquet(path: Path) -> Features:
    """Read a file of `write_geoparquet`; the layer has the file's name."""
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"geo"])["columns"][_GEOMETRY]
    columns = {name: table[name].to_numpy() for name in table.column_names if name != _GEOMETRY}
    shapes = shapely.from_wkb(np.array(table[_GEOMETRY].to_pylist(), object))
    crs = CRS.from_user_input(json_line(meta["crs"])) if meta["crs"] else CRS()
    return Features(path.stem, shapes, columns, crs, "Unknown")
