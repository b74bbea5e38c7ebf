"""The GeoPackage of the labels of one raster: each change is one transaction, so a kill loses none that was saved.

Layer `labels` holds points, lines and polygons with their `class`, layer `areas` the ground within which everything is
labelled; both also say when each was made. QGIS opens and edits the file, and `agriseg train` reads it. Columns and
layers of other programs stay as they are.
"""

import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS

from agriseg import files
from agriseg.errors import AgrisegError, DataError
from agriseg.labelling.label import Change, Kind, Label, kind_of
from agriseg.raster.header import RasterInfo
from agriseg.vectors.features import Features, moved
from agriseg.vectors.geopackage import GEOMETRY
from agriseg.vectors.ogr import read_layer
from agriseg.vectors.write import write_geopackage

LABELS, AREAS = "labels", "areas"
"""Layers of the file."""
_COLUMNS = ("id", "class", "time")
_SELECT, _DELETE, _FILL_IDS = (
    {layer: text.format(layer) for layer in (LABELS, AREAS)}
    for text in (
        "SELECT * FROM {} ORDER BY rowid", "DELETE FROM {} WHERE id = ?",
        "UPDATE {} SET id = lower(hex(randomblob(16))) WHERE id IS NULL OR id = ''",
    )
)  # fmt: skip
_WAIT_S = 10.0  # for another program that writes the file
_ENVELOPE = (0, 32, 48, 48, 64)  # bytes, by the code in the flags of a shape (GeoPackage 1.2, section 2.1.3)
_DECIMALS = 6  # of a pixel; smaller differences come from the rounding of a change of coordinates


class OutdatedChange(AgrisegError):
    """A change was made on labels that another window has changed since."""

    exit_code = 75


@dataclass(frozen=True)
class _Row:
    """A label in the file: its layer and all its columns, the shape as stored."""

    layer: str
    values: tuple[tuple[str, Any], ...]
    label: Label


class LabelFile:
    """The labels of a raster, in memory and in their file; threads may share it.

    Args:
        path: the GeoPackage; it is made if it does not exist.

    Raises:
        DataError: the file holds no labels, labels in another CRS, or of unknown classes.
        StorageError, AccessError: it cannot be written.
    """

    def __init__(self, path: Path, info: RasterInfo, classes: tuple[str, ...]) -> None:
        self.path, self.classes = path, classes
        self._info = info
        self._lock = threading.Lock()
        self._removed: dict[str, _Row] = {}
        self.version = time.time_ns() // 10**6  # a change that is based on the labels of an earlier process is refused
        if not path.exists():
            _create(path, info.georeference.crs)
        with _sqlite_errors(path):
            self._package = _connect(path)
            self._srs = self._prepared()
            self._rows = self._loaded()

    def close(self) -> None:
        """Close the file."""
        self._package.close()

    @property
    def labels(self) -> tuple[Label, ...]:
        """All labels, in the order in which they were made."""
        with self._lock:
            return tuple(row.label for row in self._rows.values())

    def apply(self, change: Change) -> int:
        """Make a change on disk, then in memory; returns the new version.

        Raises:
            OutdatedChange: the labels are not those that the change was made on.
            StorageError: it cannot be written; nothing is changed then.
        """
        with self._lock:
            known = self._rows.keys() - set(change.remove)
            if change.version != self.version or set(change.remove) - self._rows.keys():
                raise OutdatedChange("the labels were changed in another window; look at them, and draw again")
            if clash := [each.id for each in change.add if each.id in known]:
                raise OutdatedChange(f"label {clash[0]} exists already; load the labels again")
            rows = [self._row(label) for label in change.add]
            with _sqlite_errors(self.path), self._package:
                for label_id in change.remove:
                    row = self._rows[label_id]
                    self._package.execute(_DELETE[row.layer], (label_id,))
                for row in rows:
                    self._insert(row)
            self._removed |= {label_id: self._rows.pop(label_id) for label_id in change.remove}
            self._rows |= {row.label.id: row for row in rows}
            self.version += 1
            return self.version

    def _row(self, label: Label) -> _Row:
        """The row of a label: the one that was removed with its id, if it is the same label, or a new one."""
        old = self._removed.get(label.id)
        if old and (old.label.kind, old.label.class_name, old.label.xy) == (label.kind, label.class_name, label.xy):
            return old
        shape = struct.pack("<2sBBi", b"GP", 0, 1, self._srs) + shapely.to_wkb(self._stored(label.shape), byte_order=1)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        values = {GEOMETRY: shape, "id": label.id, "time": now}
        if label.kind == "area":
            return _Row(AREAS, tuple(values.items()), label)
        return _Row(LABELS, tuple((values | {"class": label.class_name}).items()), label)

    def _insert(self, row: _Row) -> None:
        names = ", ".join(_quoted(name) for name, _ in row.values)
        marks = ", ".join("?" * len(row.values))
        text = f"INSERT INTO {row.layer} ({names}) VALUES ({marks})"  # noqa: S608  (names are quoted)
        self._package.execute(text, [value for _, value in row.values])

    def _prepared(self) -> int:
        """The number of the file's CRS, after the columns that are missing have been added."""
        found = dict(self._package.execute("SELECT table_name, srs_id FROM gpkg_geometry_columns"))
        for layer in (LABELS, AREAS):
            if layer not in found:
                raise DataError(
                    f"{self.path}: no layer {layer!r}, so these are no labels of agriseg label; give another file with "
                    "-o, or rename the layer"
                )
            columns = {name for _, name, *_ in self._package.execute(f'PRAGMA table_info("{layer}")')}
            with self._package:
                for name in (name for name in _COLUMNS if name not in columns):
                    self._package.execute(f'ALTER TABLE "{layer}" ADD COLUMN "{name}" TEXT')
                self._package.execute(_FILL_IDS[layer])
        where, own = read_layer(self.path, LABELS).crs, self._info.georeference.crs or CRS()
        if where != own:
            raise DataError(
                f"{self.path}: in another CRS than {self._info.path.name}; export the layers in that of the raster"
            )
        return int(found[LABELS])

    def _loaded(self) -> dict[str, _Row]:
        rows = {}
        for layer in (LABELS, AREAS):
            cursor = self._package.execute(_SELECT[layer])
            cursor.row_factory = sqlite3.Row
            for values in cursor:
                row = self._of_file(layer, values)
                rows[row.label.id] = row
        return rows

    def _of_file(self, layer: str, values: sqlite3.Row) -> _Row:
        names = values.keys()
        column = next((name for name in (GEOMETRY, "geometry", "the_geom") if name in names), None)
        if column is None or not values[column]:
            raise DataError(f"{self.path}: a label without a shape in layer {layer!r}; delete it in QGIS")
        shape = self._in_pixels(_shape_of(values[column]))
        kind: Kind = "area" if layer == AREAS else kind_of(shape, self.path)
        name = None if kind == "area" else values["class"]
        if name and name not in self.classes:
            raise DataError(
                f"{self.path}: a label of class {name!r}, expected {', '.join(self.classes)}; name all in --classes"
            )
        stored = tuple((key, values[key]) for key in names if key != "fid")
        return _Row(layer, stored, Label(str(values["id"]), kind, name or None, shape))

    def _stored(self, shape: shapely.Geometry) -> shapely.Geometry:
        where = self._info.georeference
        if where.crs is None:
            return shapely.transform(shape, lambda xy: xy * (1, -1))  # as QGIS shows an image without a CRS
        return moved(shape, where.transform)

    def _in_pixels(self, shape: shapely.Geometry) -> shapely.Geometry:
        where = self._info.georeference
        if where.crs is None:
            return shapely.transform(shape, lambda xy: xy * (1, -1))
        return shapely.transform(moved(shape, ~where.transform), lambda xy: np.round(xy, _DECIMALS))


def _create(path: Path, crs: CRS | None) -> None:
    """Make a file without labels."""
    text = np.array([], object)
    labels = Features(LABELS, text, dict.fromkeys(_COLUMNS, text), crs or CRS(), "Unknown")
    areas = Features(AREAS, text, {"id": text, "time": text}, crs or CRS(), "Polygon")
    files.make_folder(path.parent)
    write_geopackage(path, [labels, areas], {})


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file; what is told to be written is on the disk."""
    package = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False)
    package.execute("PRAGMA synchronous = FULL")
    for name, function in _SPATIAL.items():
        package.create_function(name, 1, function, deterministic=True)
    return package


def _quoted(name: str) -> str:
    """A name of SQL."""
    return '"{}"'.format(name.replace('"', '""'))


def _shape_of(stored: bytes) -> shapely.Geometry:
    """The shape in a column of a GeoPackage."""
    return shapely.force_2d(shapely.from_wkb(stored[8 + _ENVELOPE[stored[3] >> 1 & 7] :]))


def _bound(number: int) -> Callable[[bytes | None], float | None]:
    def bound(stored: bytes | None) -> float | None:
        return None if stored is None else float(shapely.bounds(_shape_of(stored))[number])

    return bound


_SPATIAL: dict[str, Callable[[bytes | None], Any]] = {
    "ST_MinX": _bound(0), "ST_MinY": _bound(1), "ST_MaxX": _bound(2), "ST_MaxY": _bound(3),
    "ST_IsEmpty": lambda stored: None if stored is None else int(_shape_of(stored).is_empty),
}  # fmt: skip
"""What the triggers of a spatial index call (GeoPackage 1.2, annex F.3); GDAL and QGIS define these for themselves."""


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise files.storage_error(path, OSError(5, str(error))) from error
        raise DataError(f"{path}: no GeoPackage, or damaged ({error}); give another file with -o") from error
