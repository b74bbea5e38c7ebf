"""Layers and styles of a GeoPackage, by SQLite; GDAL does not write the table of styles that QGIS reads."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from agriseg.vectors.ogr import EPOCH

GEOMETRY = "geom"
"""Column of the shapes."""

_TABLE = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
    f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME
)"""  # as QGIS makes it
_STYLE = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,
    useAsDefault, description, owner, update_time)
VALUES ('', '', ?, ?, ?, ?, 1, '', '', ?)"""
_CONTENTS = """
INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change)
VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?)"""


def add_styles(path: Path, styles: Mapping[str, str]) -> None:
    """Add the table `layer_styles` with the style (QML) by name of a layer; raises `sqlite3.Error`."""
    with closing(sqlite3.connect(path)) as package, package:
        package.execute(_TABLE)
        package.execute(_CONTENTS, (EPOCH,))
        for layer, style in styles.items():
            package.execute(_STYLE, (layer, GEOMETRY, layer, style, EPOCH))


def has_layer(path: Path, name: str) -> bool:
    """Whether a file is a GeoPackage with a layer of that name; the file is not changed."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as package:
            query = "SELECT 1 FROM gpkg_contents WHERE table_name = ?"
            return package.execute(query, (name,)).fetchone() is not None
    except sqlite3.Error:
        return False


def read_styles(path: Path) -> dict[str, str]:
    """The styles (QML) by name of a layer; raises `sqlite3.Error`."""
    with closing(sqlite3.connect(path)) as package:
        return dict(package.execute("SELECT f_table_name, styleQML FROM layer_styles WHERE useAsDefault ORDER BY id"))
