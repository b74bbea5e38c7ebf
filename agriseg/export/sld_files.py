"""Legends for GeoServer, beside what QGIS has a style of."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from agriseg import files
from agriseg.errors import DataError
from agriseg.vectors.geopackage import read_styles
from agriseg.vectors.sld import sld_of
from agriseg.vegetation.formulas import INDICES

_LAYERS = ("classes", "confidence", "probabilities", "clean", "severity", "change")
_STYLED = (*_LAYERS, *(index.name.lower() for index in INDICES.values()))


def write_slds(folder: Path, stem: str) -> list[Path]:
    """Write `<stem>_<layer>.sld` for each raster of a map, `<stem>_gpkg_<layer>.sld` for each layer of its GeoPackage.

    What has no style, or is not there, has none; what was written before is replaced.

    Args:
        folder: of a finished map, its layers, indices or changes.
        stem: first part of their names.

    Returns:
        The SLD files.

    Raises:
        DataError: a style that agriseg did not write; no file is written then.
        StorageError: a style cannot be read, or the disk did not take a file.
    """
    rasters = [folder / f"{stem}_{layer}.qml" for layer in _STYLED]
    slds = {path.with_suffix(".sld"): sld_of(_read(path), path.stem) for path in rasters if path.exists()}
    package = folder / f"{stem}.gpkg"
    if package.exists():
        slds |= dict(_of_package(package))
    for path, text in slds.items():
        files.write_text(path, text)
    return list(slds)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: a style that is no text; agriseg did not write it") from error
    except OSError as error:
        raise files.reading_error(path, error) from error


def _of_package(path: Path) -> Iterator[tuple[Path, str]]:
    """Where the styles of a GeoPackage go, and how GeoServer reads them."""
    try:
        styles = read_styles(path)
    except sqlite3.Error as error:
        raise DataError(f"{path}: its styles cannot be read ({error}); make the layers again") from error
    for layer, style in styles.items():
        if not layer.isidentifier():  # it becomes part of a file's name
            raise DataError(f"{path}: its layer {layer[:40]!r} is not one that agriseg writes; make the layers again")
        yield path.with_name(f"{path.stem}_gpkg_{layer}.sld"), sld_of(style, layer)
