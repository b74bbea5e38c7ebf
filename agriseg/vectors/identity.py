"""Hashes of vector files: all files that OGR opens with them; of a GeoPackage, its tables."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from agriseg.raster.identity import InputIdentity, existing, hash_of
from agriseg.raster.pam import PAM

_SHAPEFILE = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".idm", ".ind")
_PACKAGE = ("-wal", "-journal")  # pages that are not yet, or no more, in the file itself
_LAYERS = """
SELECT c.table_name, c.data_type, g.column_name, g.geometry_type_name, s.organization, s.organization_coordsys_id,
    s.definition
FROM gpkg_contents c LEFT JOIN gpkg_geometry_columns g ON g.table_name = c.table_name
    LEFT JOIN gpkg_spatial_ref_sys s ON s.srs_id = g.srs_id
WHERE c.table_name != 'layer_styles' ORDER BY c.table_name"""


def vector_stamp(path: Path) -> str:
    """A hash that changes with the features, their columns or their CRS.

    Of a GeoPackage it covers only the tables, since QGIS writes to a file that it displays.

    Raises:
        StorageError: a file cannot be read to its end.
    """
    if tables := features_hash(path):
        return tables
    path = Path(os.path.realpath(path))
    names = {".shp": [f"{path.stem}{end}" for end in _SHAPEFILE], ".gpkg": [f"{path.name}{end}" for end in _PACKAGE]}
    return InputIdentity.of_files([path, *existing(path, names.get(path.suffix.lower(), ()))]).digest


def file_content(path: Path) -> str | None:
    """SHA-256 of a GeoPackage's features; of another file, as `hash_of`."""
    return features_hash(path) or hash_of(path)


def content_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """`file_content` by name of the files that viewers change by displaying them: `.aux.xml` and GeoPackages."""
    changing = (path for path in paths if path.name.endswith((PAM, ".gpkg")) and path.is_file())
    return {path.name: content for path in changing if (content := file_content(path))}


def features_hash(path: Path) -> str | None:
    """SHA-256 of a GeoPackage's layers: features, columns and CRS, without styles; None for other files."""
    if path.suffix.lower() != ".gpkg":
        return None
    pending = path.with_name(f"{path.name}-wal")
    mode = "mode=ro" if pending.exists() and pending.stat().st_size else "mode=ro&immutable=1"  # leaves no file behind
    digest = hashlib.sha256()
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?{mode}", uri=True)) as base:
            base.execute("PRAGMA trusted_schema=OFF")  # a file may come from anyone
            for layer in base.execute(_LAYERS).fetchall():
                table = str(layer[0]).replace('"', '""')
                rows = base.execute(f'SELECT * FROM "{table}"')  # noqa: S608 (quoted, as SQLite wants it)
                digest.update(repr((layer, [column[0] for column in rows.description])).encode())
                for row in rows:
                    digest.update(repr(row).encode())
    except sqlite3.Error:
        return None
    return digest.hexdigest()
