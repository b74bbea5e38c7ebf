"""Read the rates of a GeoPackage with SQLite alone.

Source: OGC 12-128r15, GeoPackage 1.2, sections 1.1.2 (tables of CRSs and layers) and 2.1.3 (geometries).
"""

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as warp

from agriseg.machine_files.readers.read_rates import ReadFile, ReadZones

_ENVELOPES = (0, 32, 48, 48, 64)  # bytes, by their code in the header
_DEGREES = 4326


def read_rate_geopackage(path: Path) -> ReadFile:
    """Rates, unit and boundary of a GeoPackage.

    Raises:
        ValueError, sqlite3.Error, struct.error, shapely.errors.ShapelyError: it is not of the form that is specified.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT geom, rate, unit FROM prescription").fetchall()
        polygons = _polygons(database, "prescription", [row[0] for row in rows])
        fields = [row[0] for row in database.execute("SELECT geom FROM field")]
        boundary = _polygons(database, "field", fields)
    units = {row[2] for row in rows}
    if len(units) != 1:
        raise ValueError(f"the units are {sorted(map(str, units))}")
    return ReadFile(ReadZones(polygons, np.array([row[1] for row in rows], np.float64)), units.pop(), boundary)


def _polygons(database: sqlite3.Connection, layer: str, blobs: list[bytes]) -> NDArray[np.object_]:
    """(N,) polygons of a layer, in degrees."""
    query = (
        "SELECT srs_id, organization_coordsys_id, definition FROM gpkg_geometry_columns "
        "JOIN gpkg_spatial_ref_sys USING (srs_id) WHERE table_name = ?"
    )
    number, code, definition = database.execute(query, [layer]).fetchone()
    polygons = shapely.from_wkb([_wkb(blob, number) for blob in blobs])
    if not (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON).all():
        raise ValueError(f"layer {layer} holds other shapes than polygons")
    if code == _DEGREES:
        return np.asarray(polygons)
    crs = CRS.from_wkt(definition)
    degrees = shapely.transform(polygons, lambda xy: np.stack(warp(crs, "OGC:CRS84", xy[:, 0], xy[:, 1]), axis=1))
    return np.asarray(degrees)


def _wkb(blob: bytes, srs_id: int) -> bytes:
    magic, _, flags = struct.unpack_from("<2sBB", blob)
    (number,) = struct.unpack_from("<i" if flags & 1 else ">i", blob, 4)
    if magic != b"GP" or number != srs_id:
        raise ValueError(f"a geometry begins with {magic!r} and names CRS {number}, expected GP and {srs_id}")
    return blob[8 + _ENVELOPES[flags >> 1 & 7] :]
