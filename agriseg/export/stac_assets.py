"""The files of a finished map as the assets of a STAC Item: what each of them is, how large, and its checksum."""

from collections.abc import Mapping
from pathlib import Path

import pystac
from rasterio.enums import ColorInterp

from agriseg.export.stac_model import class_objects, escaped
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
_SHA256 = "1220"  # first bytes of a multihash: the hash function, and its 32 bytes


def add_assets(item: pystac.Item, run: FinishedMap, record: Path) -> None:
    """Add an asset for each existing file of a run, and of layers that were made from the same run.

    Checksums are those of the records, so that a reader can see which files have changed since.

    Raises:
        DataError: a layer cannot be opened, or the layers' record is damaged.
    """
    for name, sha256 in _hashes(run, record).items():
        path = run.folder / name
        if path.is_file():
            key = name.removeprefix(run.stem).removesuffix(".tif").lstrip("_.").replace(".", "_")
            item.add_asset(key, _asset(path, sha256, run.legend))


def _hashes(run: FinishedMap, record: Path) -> Mapping[str, str | None]:
    """SHA-256 of outputs and records by name; None for the report, which may be made anew at any time."""
    records, report = [record], f"{run.stem}_report.html"
    outputs, layers = dict(run.record.outputs), run.folder / f"{run.stem}{LAYERS}"
    if layers.is_file():
        values = read_json(layers)
        if values["run"]["sha256"] == file_hash(record):
            outputs |= values["outputs"]
            records.append(layers)
    return {**outputs, **{path.name: file_hash(path) for path in records}, report: None}


def _asset(path: Path, sha256: str | None, legend: Legend) -> pystac.Asset:
    kind, role = _KINDS.get(path.suffix, ("application/octet-stream", "data"))
    asset = pystac.Asset(f"./{escaped(path.name)}", media_type=kind, roles=[role])
    if sha256 is not None:
        asset.extra_fields |= {"file:checksum": _SHA256 + sha256, "file:size": path.stat().st_size}
    if path.suffix == ".tif":
        _describe_raster(asset, path, legend)
    return asset


def _describe_raster(asset: pystac.Asset, path: Path, legend: Legend) -> None:
    """Add the grid and the bands of a layer, and the classes of a mask."""
    with gdal_calls(f"{path}: its header cannot be read; make it again"), open_raster(path) as dataset:
        texts = [text or f"band {number}" for number, text in enumerate(dataset.descriptions, 1)]
        bands = zip(machine_names(texts), texts, dataset.dtypes, dataset.nodatavals, dataset.scales, strict=True)
        is_mask = dataset.colorinterp[0] == ColorInterp.palette
        asset.extra_fields |= {
            "proj:shape": [dataset.height, dataset.width],
            "proj:transform": list(dataset.transform)[:6],
            "bands": [
                {
                    "name": word,
                    "description": text,
                    "data_type": dtype,
                    **({} if nodata is None else {"nodata": nodata_value(nodata)}),
                    "raster:scale": scale,
                }
                for word, text, dtype, nodata, scale in bands
            ],
        }
    if is_mask:
        asset.roles = [*(asset.roles or ()), "classification"]
        pairs = zip(class_objects(legend.names), legend, strict=True)
        asset.extra_fields["classification:classes"] = [
            {**values, "color_hint": entry.colour[1:]} for values, entry in pairs
        ]
