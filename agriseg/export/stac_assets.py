"""The files of a finished map as the assets of a STAC Item: what each of them is, how large, and its checksum."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import ColorInterp

from agriseg.export.stac_model import class_objects
from agriseg.export.zarr import machine_names
from agriseg.files import file_hash
from agriseg.json_text import nodata_value
from agriseg.legend import Legend
from agriseg.maps.reader import FinishedMap
from agriseg.maps.record import read_json
from agriseg.maps.stem import LAYERS
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.safe_open import open_raster

_KINDS = {
    ".tif": ("image/tiff; application=geotiff; profile=cloud-optimized", "data"),
    ".gpkg": ("application/geopackage+sqlite3", "data"),
    ".geojson": ("application/geo+json", "data"),
    ".fgb": ("application/vnd.flatgeobuf", "data"),
    ".parquet": ("application/vnd.apache.parquet", "data"),
    ".kml": ("application/vnd.google-earth.kml+xml", "data"),
    ".gpx": ("application/gpx+xml", "data"),
    ".csv": ("text/csv", "data"),
    ".png": ("image/png", "overview"),
    ".json": ("application/json", "metadata"),
    ".html": ("text/html", "metadata"),
    ".xml": ("application/xml", "metadata"),
    ".qml": ("application/xml", "metadata"),
}
"""Media type and role by suffix."""
_SHA256 = "1220"
"""What a multihash begins with: the hash function, and that it has 32 bytes."""


def assets(run: FinishedMap, record: Path) -> dict[str, dict[str, Any]]:
    """An asset for each file of a run that is there, and for those of layers that were made of this very run.

    Checksums are those of the records, so that whoever gets the files finds out what has changed since.

    Args:
        run: the map.
        record: its file.

    Raises:
        DataError: a layer cannot be opened, or the layers' record is damaged.
    """
    found = {}
    for name, sha256 in _written(run, record).items():
        path = run.folder / name
        if path.is_file():
            key = name.removeprefix(run.stem).removesuffix(".tif").lstrip("_.").replace(".", "_")
            found[key] = _asset(path, sha256, run.legend)
    return found


def reference(path: Path, folder: Path) -> str:
    """Relative reference from a folder to a file."""
    relative = os.path.relpath(path, folder)
    return escaped(relative if relative.startswith("../") else f"./{relative}")


def escaped(path: str) -> str:
    """A path as a reference: as it is, but for characters that begin something else in one."""
    return re.sub(r"[%?#]", lambda found: f"%{ord(found[0]):02X}", path)


def _written(run: FinishedMap, record: Path) -> Mapping[str, str | None]:
    """Names and SHA-256 of outputs and of what tells of them; None for the report, which is made anew at any time."""
    about, pages = [record], [run.folder / f"{run.stem}_report.html"]
    outputs, layers = dict(run.record.outputs), run.folder / f"{run.stem}{LAYERS}"
    if layers.is_file():
        told = read_json(layers)
        if told["run"]["sha256"] == file_hash(record):
            outputs |= told["outputs"]
            about.append(layers)
    told = {path.name: file_hash(path) for path in about if path.is_file()}
    return outputs | told | {path.name: None for path in pages if path.is_file()}


def _asset(path: Path, sha256: str | None, legend: Legend) -> dict[str, Any]:
    kind, role = _KINDS.get(path.suffix, ("application/octet-stream", "data"))
    raster = _raster(path, legend) if path.suffix == ".tif" else {}
    return {
        "href": reference(path, path.parent),
        "type": kind,
        "roles": [role, *(["classification"] if "classification:classes" in raster else [])],
        **({} if sha256 is None else {"file:checksum": _SHA256 + sha256, "file:size": path.stat().st_size}),
        **raster,
    }


def _raster(path: Path, legend: Legend) -> dict[str, Any]:
    """Grid and bands of a layer, and the classes of a mask."""
    with gdal_calls(f"{path}: its header cannot be read; make it again"), open_raster(path) as dataset:
        classes = _classes(legend) if dataset.colorinterp[0] == ColorInterp.palette else None
        fields = {
            "proj:shape": [dataset.height, dataset.width],
            "proj:transform": list(dataset.transform)[:6],
            "bands": _bands(dataset),
        }
    return fields if classes is None else {**fields, "classification:classes": classes}


def _bands(dataset: rasterio.DatasetReader) -> list[dict[str, Any]]:
    texts = [text or f"band {number}" for number, text in enumerate(dataset.descriptions, 1)]
    told = zip(machine_names(texts), texts, dataset.dtypes, dataset.nodatavals, dataset.scales, strict=True)
    return [
        {
            "name": word,
            "description": text,
            "data_type": dtype,
            **({} if nodata is None else {"nodata": nodata_value(nodata)}),
            "raster:scale": scale,
        }
        for word, text, dtype, nodata, scale in told
    ]


def _classes(legend: Legend) -> list[dict[str, Any]]:
    pairs = zip(class_objects(legend.names), legend, strict=True)
    return [{**told, "color_hint": entry.colour[1:]} for told, entry in pairs]
