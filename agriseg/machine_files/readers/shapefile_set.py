"""Read a shapefile set with pyshp, which shares nothing with GDAL."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import shapefile
import shapely
from numpy.typing import NDArray

from agriseg.machine_files.profiles import MachineProfile
from agriseg.machine_files.readers.read_rates import ReadFile, ReadZones

_POLYGON = 5  # ESRI Shapefile Technical Description, July 1998
_PARTS = ("dbf", "prj", "shp", "shx")


def read_shapefile_set(profile: MachineProfile, path: Path) -> ReadFile:
    """Rates of the one shapefile in a zip, which must be in the folder of the profile.

    Raises:
        ValueError, KeyError, zipfile.BadZipFile, shapefile.ShapefileException: it is not of the form that is specified.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        stems = {name.rpartition(".")[0] for name in names}
        ends = tuple(sorted(name.rpartition(".")[2] for name in names))
        if len(stems) != 1 or ends != _PARTS:
            raise ValueError(f"the zip holds {names}, expected {', '.join(_PARTS)} of one name")
        stem = stems.pop()
        if stem.rpartition("/")[0] != profile.folder:
            raise ValueError(f"the files are in {stem.rpartition('/')[0]!r}, expected {profile.folder!r}")
        polygons, records = read_polygons({part: archive.read(f"{stem}.{part}") for part in _PARTS})
    rates = np.array([float(record[profile.column]) for record in records])
    units = {str(record[profile.unit_column]) for record in records} if profile.unit_column else {""}
    if len(units) != 1:
        raise ValueError(f"the units are {sorted(units)}")
    return ReadFile(ReadZones(polygons, rates), units.pop(), np.empty(0, object))


def read_polygons(parts: dict[str, bytes]) -> tuple[NDArray[np.object_], list[Any]]:
    """Polygons and their rows in the table; each has one outer ring, which is clockwise."""
    if not parts["prj"].startswith(b"GEOGCS") or b"WGS_1984" not in parts["prj"]:
        raise ValueError("the .prj names another CRS than WGS 84 in degrees")
    with shapefile.Reader(**{part: io.BytesIO(parts[part]) for part in ("shp", "shx", "dbf")}) as reader:
        if reader.shapeType != _POLYGON:
            raise ValueError(f"shapes of type {reader.shapeType}, expected {_POLYGON}")
        if len(reader) != reader.numRecords:
            raise ValueError(f"{len(reader)} shapes for {reader.numRecords} rows")
        polygons = _polygons(list(reader.iterShapes()))
        records = list(reader.iterRecords())
    if len(polygons) != len(records):
        raise ValueError(f"{len(polygons)} shapes for {len(records)} rows")
    return polygons, records


def _polygons(shapes: list[shapefile.Shape]) -> NDArray[np.object_]:
    """(N,) polygons of the outer ring of each shape, the clockwise one, and its holes."""
    points = np.concatenate([np.asarray(shape.points, np.float64)[:, :2] for shape in shapes])
    ends = [np.diff([*shape.parts, len(shape.points)]) for shape in shapes]
    lengths, parts = np.concatenate(ends), np.array([len(each) for each in ends])
    rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(lengths)), lengths))
    if (shapely.get_num_coordinates(rings) != lengths).any():
        raise ValueError("a ring is not closed")
    owner, is_hole = np.repeat(np.arange(len(shapes)), parts), shapely.is_ccw(rings)
    outer = np.flatnonzero(~is_hole)
    if not np.array_equal(owner[outer], np.arange(len(shapes))):
        raise ValueError("a shape has more or less than one clockwise ring, which is the outer one")
    order = np.lexsort([is_hole, owner])
    coordinates = shapely.get_coordinates(rings[order])
    ring_ends, shape_ends = (np.cumsum([0, *counts]) for counts in (lengths[order], parts))
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates, (ring_ends, shape_ends))
    return np.asarray(polygons)
