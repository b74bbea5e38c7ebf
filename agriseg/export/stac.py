"""Finished maps for a SpatioTemporal Asset Catalog (STAC 1.1): an Item for each map, a Collection of many.

The same run gives the same bytes. Nothing is validated here: the extensions' schemas would have to be fetched.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from pathlib import Path

import numpy as np
import pystac
import shapely
from pystac.utils import datetime_to_str
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError
from rasterio.warp import transform_geom

from agriseg.errors import DataError, UsageError
from agriseg.export.stac_model import MODEL_ITEM, class_objects, escaped, model_id, schemas, write_stac
from agriseg.export.zarr import machine_names
from agriseg.files import file_hash
from agriseg.json_text import json_line, nodata_value
from agriseg.legend import Legend
from agriseg.maps.reader import FinishedMap
from agriseg.maps.record import RunRecord, read_json
from agriseg.maps.stem import LAYERS
from agriseg.raster.gdal_env import GDAL_ERRORS, gdal_calls
from agriseg.raster.georeference import Georeference
from agriseg.raster.safe_open import open_raster
from agriseg.vectors.features import LONLAT
from agriseg.vectors.write import LONLAT_DECIMALS

COLLECTION = "collection.json"
"""Name of a collection."""
_EDGE = 16  # parts of each edge of a footprint: 10 km of UTM are followed within 1 cm
_WORLD = [-180.0, -90.0, 180.0, 90.0]
_UP = ("root", "parent", "collection")  # links of an Item to its collection
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


def write_item(record: Path) -> Path:
    """Write `<stem>_stac.json` beside the files of a run: an Item with an asset for each of them that is there.

    Its time is that of the flight if it is known, otherwise that of the map; `agriseg:datetime_of` says which.
    Without a CRS it has no geometry. It links to the model's Item if that exists.

    Raises:
        InputMissing, DataError: the map is not all there, or its record is not that of a run.
        StorageError: the disk did not take it.
    """
    run = FinishedMap.of(record)
    moment, times = _times(run.record)
    shape = _footprint(run.georeference, run.width, run.height)
    geometry, bbox = (None, None) if shape is None else (shapely.geometry.mapping(shape), list(shape.bounds))
    extensions = schemas(
        "projection/v2.0.0", "classification/v2.0.0", "file/v2.1.0", "raster/v2.0.0", "processing/v1.2.0"
    )
    properties = {"title": run.stem, **times}
    item = pystac.Item(_item_id(run), geometry, bbox, moment, properties, stac_extensions=extensions)
    _add_properties(item, run)
    _add_assets(item, run, record)
    item.add_link(pystac.Link("via", escaped(run.record.input.path), title="The image, where it lay"))
    name = model_id(run.record.model)
    if record.with_name(name + MODEL_ITEM).is_file():
        to = f"./{escaped(name + MODEL_ITEM)}"
        item.add_link(pystac.Link("derived_from", to, pystac.MediaType.GEOJSON, extra_fields={"mlm:name": name}))
    return write_stac(record.with_name(f"{run.stem}_stac.json"), item)


def write_collection(folder: Path, items: Sequence[Path]) -> Path:
    """Write `collection.json`: the extent and the classes of all items; they get links to it.

    Args:
        folder: folder of the collection.
        items: files of `write_item`, in the folder or below it.

    Raises:
        UsageError: no items.
        DataError: a file is no item.
        StorageError: the disk did not take it.
    """
    if not items:
        raise UsageError(f"{folder}: a collection of no items; map something first")
    final, title = folder / COLLECTION, folder.resolve().name
    members = [_read_item(path) for path in items]
    extent = pystac.Extent.from_items(members)
    if not any(item.bbox for item in members):
        extent.spatial = pystac.SpatialExtent([_WORLD])
    classes = {json_line(entry, sort_keys=True): entry for item in members for entry in _classes(item)}
    collection = pystac.Collection(
        machine_names([title])[0], f"{len(items)} maps of classes, made by agriseg.", extent, title,
        schemas("classification/v2.0.0"), license="other",
        summaries=pystac.Summaries({"classification:classes": [*classes.values()]}),
    )  # fmt: skip
    collection.clear_links()
    collection.add_link(pystac.Link("root", f"./{COLLECTION}", pystac.MediaType.JSON))
    for path in items:
        collection.add_link(pystac.Link("item", _reference(path, folder), pystac.MediaType.GEOJSON))
    write_stac(final, collection)
    for path, item in zip(items, members, strict=True):
        for rel in _UP:
            item.clear_links(rel)
            item.add_link(pystac.Link(rel, _reference(final, path.parent), pystac.MediaType.JSON))
        item.collection_id = collection.id
        write_stac(path, item)
    return final


def _item_id(run: FinishedMap) -> str:
    """The stem and a hash of image, model and options: many flights have one name, and a run can be made again."""
    record = run.record
    key = json_line([record.input.sha256, record.model.fingerprint, record.options], sort_keys=True)
    return f"{machine_names([run.stem])[0]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _add_properties(item: pystac.Item, run: FinishedMap) -> None:
    """Add the CRS (its code, or its WKT if it has none), how the map was made, and its verdict."""
    record, crs = run.record, run.georeference.crs
    authority = None if crs is None else crs.to_authority(confidence_threshold=100)
    item.properties["proj:code"] = None if authority is None else ":".join(authority)
    if crs is not None and authority is None:
        item.properties["proj:wkt2"] = crs.to_wkt(version="WKT2_2019")
    item.properties |= {
        "processing:level": "L4",
        "processing:datetime": datetime_to_str(_utc(record.finished)),
        "processing:software": {"agriseg": record.versions["agriseg"]},
        "processing:lineage": f"Semantic segmentation of the image with SHA-256 {record.input.sha256} "
        f"by the model with fingerprint {record.model.fingerprint}",
        "agriseg:verdict": record.verdict.colour,
    }


def _times(run: RunRecord) -> tuple[datetime, dict[str, str]]:
    """The time of the flight, or else of the map; which of the two, and the whole day if only the day is known."""
    flight = run.input.acquired
    moment = _utc(flight or run.finished)
    times = {"agriseg:datetime_of": "flight" if flight else "processing"}
    if flight and len(flight) == len("2026-06-30"):
        last = datetime.combine(moment, time(23, 59, 59), UTC)
        times |= {"start_datetime": datetime_to_str(moment), "end_datetime": datetime_to_str(last)}
    return moment, times


def _utc(text: str) -> datetime:
    """A moment in UTC; without a zone it counts as UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(
            f"the record's time {text!r} is none, expected ISO 8601 such as 2026-06-30; run again"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _footprint(where: Georeference, width: int, height: int) -> shapely.Geometry | None:
    """A map in longitude and latitude, in two parts across the 180th meridian; None if they are unknown."""
    if where.crs is None:
        return None
    along, zeros = np.arange(_EDGE) / _EDGE, np.zeros(_EDGE)
    cols = width * np.concatenate([zeros, along, zeros + 1, 1 - along])
    rows = height * np.concatenate([along, zeros + 1, 1 - along, zeros])
    frame = shapely.polygons(np.stack(where.transform @ (cols, rows), axis=1))
    try:
        carried = transform_geom(where.crs, LONLAT, shapely.geometry.mapping(frame), antimeridian_cutting=True)
    except (CRSError, *GDAL_ERRORS):  # such as a CRS not tied to the Earth
        return None
    shape = shapely.transform(shapely.geometry.shape(carried), lambda xy: np.round(xy, LONLAT_DECIMALS))
    return shapely.orient_polygons(shape) if np.isfinite(shape.bounds).all() else None


def _add_assets(item: pystac.Item, run: FinishedMap, record: Path) -> None:
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


def _read_item(path: Path) -> pystac.Item:
    try:
        item = pystac.Item.from_dict(json.loads(path.read_text("utf-8")), migrate=False)
        _classes(item)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pystac.STACTypeError) as error:
        raise DataError(f"{path}: no Item of a map, or damaged; write it again") from error
    return item


def _classes(item: pystac.Item) -> list[dict[str, str | int]]:
    return list(item.assets["classes"].extra_fields["classification:classes"])


def _reference(path: Path, folder: Path) -> str:
    """Relative reference from a folder to a file."""
    relative = os.path.relpath(path, folder)
    return escaped(relative if relative.startswith("../") else f"./{relative}")
