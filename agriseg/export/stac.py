"""Finished maps for a SpatioTemporal Asset Catalog (STAC 1.1): an Item for each map and model, a Collection of many.

The same run gives the same bytes. Nothing is validated here: the extensions' schemas would have to be fetched.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform_geom

from agriseg import files
from agriseg.errors import DataError, UsageError
from agriseg.export.stac_assets import assets, escaped, reference
from agriseg.export.stac_model import bands, model_id, model_properties
from agriseg.export.zarr import machine_names
from agriseg.json_text import json_document, json_line
from agriseg.maps.reader import FinishedMap
from agriseg.maps.record import RunRecord
from agriseg.raster.gdal_env import GDAL_ERRORS
from agriseg.raster.georeference import Georeference
from agriseg.vectors.features import LONLAT
from agriseg.vectors.write import LONLAT_DECIMALS

try:
    import pystac
    from pystac.utils import datetime_to_str
except ImportError as error:
    raise UsageError("STAC needs the package pystac; install agriseg[stac]") from error

COLLECTION = "collection.json"
"""Name of a collection."""
_MODEL = "_mlm.json"
"""End of the name of a model's Item."""
_EDGE = 16
"""Parts of each edge of a footprint: 10 km of UTM are followed within 1 cm."""
_WORLD = [-180.0, -90.0, 180.0, 90.0]


def write_item(record: Path) -> Path:
    """Write `<stem>_stac.json` beside the files of a run: an Item with an asset for each of them that is there.

    Its time is the flight's if the record knows it, else that at which the map was finished; `agriseg:datetime_of` says
    which. Without a CRS it has no geometry. It links to the model's Item if that is there.

    Args:
        record: of the run.

    Raises:
        InputMissing, DataError: the map is not all there, or its record is not that of a run.
        StorageError: the disk did not take it.
    """
    run = FinishedMap.of(record)
    told = run.record
    moment, times = _times(told)
    shape = _footprint(run.georeference, run.width, run.height)
    item = pystac.Item(
        _item_id(run.stem, told), None if shape is None else shapely.geometry.mapping(shape),
        None if shape is None else list(shape.bounds), moment, {"title": run.stem, **times, **_properties(run)},
        stac_extensions=_schemas(
            "projection/v2.0.0", "classification/v2.0.0", "file/v2.1.0", "raster/v2.0.0", "processing/v1.2.0"
        ),
    )  # fmt: skip
    for key, asset in assets(run, record).items():
        item.add_asset(key, pystac.Asset.from_dict(asset))
    item.add_link(pystac.Link("via", escaped(told.input.path), title="The image, where it lay"))
    model = record.with_name(model_id(told.model) + _MODEL)
    if model.is_file():
        name = {"mlm:name": model_id(told.model)}
        to = reference(model, model.parent)
        item.add_link(pystac.Link("derived_from", to, pystac.MediaType.GEOJSON, extra_fields=name))
    return _write(record.with_name(f"{run.stem}_stac.json"), item)


def write_model_item(record: Path) -> Path:
    """Write `<name>-<fingerprint>_mlm.json` beside the files of a run: an Item of the model that made the map.

    Args:
        record: of the run.

    Raises:
        DataError: the record is damaged, or not that of a run.
        StorageError: the disk did not take it.
    """
    run = RunRecord.read(record)
    model = run.model
    item = pystac.Item(
        model_id(model), None, None, None, model_properties(model, run.parameters),
        stac_extensions=_schemas("mlm/v1.4.0", "classification/v2.0.0"),
    )  # fmt: skip
    if model.path is not None:
        kind, roles = "application/octet-stream; framework=pytorch", ["mlm:model", "mlm:weights", "data"]
        fields = {"mlm:artifact_type": "safetensors.torch.save_file", "bands": bands(model)}
        item.add_asset("model", pystac.Asset(escaped(model.path), None, None, kind, roles, fields))
    return _write(record.with_name(item.id + _MODEL), item)


def write_collection(folder: Path, items: Sequence[Path]) -> Path:
    """Write `collection.json`: the extent and the classes of all items; they get links to it.

    Args:
        folder: of the collection.
        items: files in it or below it, that `write_item` has written.

    Raises:
        UsageError: no items.
        DataError: one of them is none.
        StorageError: the disk did not take it.
    """
    if not items:
        raise UsageError(f"{folder}: a collection of no items; map something first")
    final, title = folder / COLLECTION, folder.resolve().name
    told = [_read_item(path) for path in items]
    collection = pystac.Collection(
        machine_names([title])[0], f"{len(items)} maps of classes, made by agriseg.", _extent(told), title,
        _schemas("classification/v2.0.0"), license="other",
        summaries=pystac.Summaries({"classification:classes": _classes(told)}),
    )  # fmt: skip
    collection.clear_links()
    collection.add_link(pystac.Link("root", f"./{COLLECTION}", pystac.MediaType.JSON))
    for path in items:
        collection.add_link(pystac.Link("item", reference(path, folder), pystac.MediaType.GEOJSON))
    _write(final, collection)
    for path, item in zip(items, told, strict=True):
        to = {"href": reference(final, path.parent), "type": pystac.MediaType.JSON}
        up = [{"rel": rel, **to} for rel in ("root", "parent", "collection")]
        links = [link for link in item["links"] if link["rel"] not in ("root", "parent", "collection")]
        files.write_text(path, json_document({**item, "links": [*links, *up], "collection": collection.id}))
    return final


def _item_id(stem: str, run: RunRecord) -> str:
    """The stem and a hash of image, model and options: many flights have one name, and a run can be made again."""
    asked = json_line([run.input.sha256, run.model.fingerprint, run.options], sort_keys=True)
    return f"{machine_names([stem])[0]}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"


def _properties(run: FinishedMap) -> dict[str, Any]:
    """What there is to say of a map, but for its time."""
    told = run.record
    return {
        **_crs(run.georeference.crs),
        "processing:level": "L4",
        "processing:datetime": datetime_to_str(_utc(told.finished)),
        "processing:software": {"agriseg": told.versions["agriseg"]},
        "processing:lineage": f"Semantic segmentation of the image with SHA-256 {told.input.sha256} "
        f"by the model with fingerprint {told.model.fingerprint}",
        "agriseg:verdict": told.verdict.colour,
    }


def _times(run: RunRecord) -> tuple[datetime, dict[str, str]]:
    """When the flight was, else when the map was finished; which of the two, and the whole day if no more is known."""
    flight = run.input.acquired
    moment = _utc(flight or run.finished)
    times = {"agriseg:datetime_of": "flight" if flight else "processing"}
    if flight and len(flight) == len("2026-06-30"):
        last = datetime.combine(moment, time(23, 59, 59), UTC)
        times |= {"start_datetime": datetime_to_str(moment), "end_datetime": datetime_to_str(last)}
    return moment, times


def _utc(text: str) -> datetime:
    """A moment in UTC; one without a zone is taken to be there."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(
            f"the record's time {text!r} is none, expected ISO 8601 such as 2026-06-30; run again"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _crs(crs: CRS | None) -> dict[str, Any]:
    """Code of a CRS, or its WKT if it has none."""
    if crs is None:
        return {"proj:code": None}
    authority = crs.to_authority(confidence_threshold=100)
    if authority is None:
        return {"proj:code": None, "proj:wkt2": crs.to_wkt(version="WKT2_2019")}
    return {"proj:code": ":".join(authority)}


def _footprint(where: Georeference, width: int, height: int) -> shapely.Geometry | None:
    """A map in longitude and latitude, in two parts across the 180th meridian; None where that is unknown."""
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


def _read_item(path: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
        pystac.Item.from_dict(told)
        _classes([told])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pystac.STACTypeError) as error:
        raise DataError(f"{path}: no Item of a map, or damaged; write it again") from error
    return told


def _extent(items: Sequence[dict[str, Any]]) -> pystac.Extent:
    """Of all items; the world if none of them has a place."""
    extent = pystac.Extent.from_items(map(pystac.Item.from_dict, items))
    if not any("bbox" in item for item in items):
        extent.spatial = pystac.SpatialExtent([_WORLD])
    return extent


def _classes(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each class of any item once."""
    found = (entry for item in items for entry in item["assets"]["classes"]["classification:classes"])
    return list({json_line(entry, sort_keys=True): entry for entry in found}.values())


def _schemas(*names: str) -> list[str]:
    return [f"https://stac-extensions.github.io/{name}/schema.json" for name in names]


def _write(path: Path, thing: pystac.Item | pystac.Collection) -> Path:
    files.write_text(path, json_document(thing.to_dict(include_self_link=False, transform_hrefs=False)))
    return path
