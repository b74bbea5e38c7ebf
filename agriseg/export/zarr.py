"""Export of a finished map as one Zarr group, for analysis with xarray.

Version 2 of the format, since GDAL before 3.12 reads no other. Its arrays follow the Climate and Forecast (CF)
conventions, which xarray reads; GDAL reads the CRS from its own attribute `_CRS`.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from zarr.storage import LocalStore

from agriseg import files
from agriseg.legend import CONFIDENCE_STEP, NODATA
from agriseg.maps.reader import FinishedMap
from agriseg.maps.stem import Stem
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.georeference import Georeference
from agriseg.raster.safe_open import open_raster
from agriseg.run_layers import PROBABILITIES

CHUNK = 512
"""Rows and columns of a chunk, as of a block of the GeoTIFFs; strips of a map are whole rows of chunks."""
_COMPRESSOR: dict[str, Any] = {"id": "zstd", "level": 5}


def write_zarr(record: Path, *, overwrite: bool = False) -> Path:
    """Write `<stem>.zarr` beside the files of a run.

    Its arrays: `class` (y, x) uint8 ids, 255 nodata; `confidence` (y, x) uint8 in steps of 0.004, 255 nodata;
    `probability` (class_index, y, x) alike, if the run has it; `x` and `y` float64 pixel centres in the CRS, if the
    grid is not rotated; `spatial_ref` with the CRS and GDAL's `GeoTransform`.

    The folder gets its name when all of it is on the disk.

    Raises:
        InputMissing, DataError: the map is incomplete.
        OutputError: the group exists and may not be replaced.
        BusyError: a run replaces the map.
        StorageError: the disk did not take it.
    """
    run = FinishedMap.of(record)
    final = run.folder / f"{run.stem}.zarr"
    with files.locked(Stem.of(record).lock):  # no run replaces the map meanwhile
        if final.exists() and not overwrite:
            raise files.exists_error(final)
        with files.draft_of(final) as draft:
            _write(run, draft)
    return final


def machine_names(names: Sequence[str]) -> list[str]:
    """A different word of `[0-9A-Za-z_-]` for each class, as CF's `flag_meanings` and STAC's `name` require.

    >>> machine_names(["healthy crop", "Rüben"])
    ['healthy_crop', 'Ruben']
    """
    plain = [unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() for name in names]
    words = [re.sub(r"[^0-9A-Za-z-]+", "_", name).strip("_") for name in plain]
    if "" in words or len(set(words)) < len(words):
        return [f"{word or 'class'}_{k}" for k, word in enumerate(words)]
    return words


def _write(run: FinishedMap, folder: Path) -> None:
    group = zarr.create_group(LocalStore(folder), zarr_format=2)
    names, size, crs = run.legend.names, (run.height, run.width), run.georeference.crs
    decided = run.legend.decided.names  # those of the network, which has no probability of `unsure`
    share = {"scale_factor": CONFIDENCE_STEP, "units": "1"}
    on_grid = {"grid_mapping": "spatial_ref", **({"_CRS": {"wkt": crs.to_wkt(version="WKT2_2019")}} if crs else {})}
    mask = _layer(group, "class", ("y", "x"), size, **_flags(names), **on_grid)
    confidence = _layer(group, "confidence", ("y", "x"), size, **share, **on_grid)
    for strip in run.strips():
        rows = slice(strip.rows.start, strip.rows.stop)
        mask[rows], confidence[rows] = strip.mask, strip.confidence
    if f"{run.stem}_{PROBABILITIES.raster}" in run.record.outputs:
        layer = _layer(group, "probability", ("class_index", "y", "x"), (len(decided), *size), **share, **on_grid)
        _coordinate(group, "class_index", np.arange(len(decided), dtype=np.uint8), **_flags(decided))
        for start, pixels in _probabilities(run):
            layer[:, start : start + pixels.shape[1]] = pixels
    _write_position(group, run.georeference, run.width, run.height)
    zarr.consolidate_metadata(group.store, zarr_format=2)


def _flags(names: Sequence[str]) -> dict[str, str | list[int] | list[str]]:
    """Attributes of an array of class ids: the values, CF's words, and the names."""
    words = machine_names(names)
    return {"flag_values": list(range(len(words))), "flag_meanings": " ".join(words), "class_names": list(names)}


def _probabilities(run: FinishedMap) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """First row and pixels (K, h, width) of rows of chunks, from top to bottom."""
    path = run.folder / f"{run.stem}_{PROBABILITIES.raster}"
    with open_raster(path) as dataset, gdal_calls(f"{path}: cannot be read; run agriseg run again"):
        for start in range(0, run.height, CHUNK):
            yield start, dataset.read(window=Window(0, start, run.width, min(CHUNK, run.height - start)))


def _write_position(group: zarr.Group, where: Georeference, width: int, height: int) -> None:
    """Write the coordinates and the CRS."""
    to = where.transform
    if to.b == to.d == 0:  # else a pixel's x depends on its row as well, which GeoTransform alone can say
        (x_axis, x_unit), (y_axis, y_unit) = _axes(where.crs)
        x, y = to.c + to.a * (np.arange(width) + 0.5), to.f + to.e * (np.arange(height) + 0.5)
        _coordinate(group, "x", x, axis="X", standard_name=x_axis, units=x_unit)
        _coordinate(group, "y", y, axis="Y", standard_name=y_axis, units=y_unit)
    attributes = {"GeoTransform": " ".join(map(repr, to.to_gdal()))}
    if where.crs:
        attributes["crs_wkt"] = where.crs.to_wkt(version="WKT2_2019")
    _coordinate(group, "spatial_ref", np.array(0, np.int32), **attributes)


def _axes(crs: CRS | None) -> tuple[tuple[str, str], tuple[str, str]]:
    """CF's standard name and unit of each axis."""
    if crs is None:
        return ("x", "1"), ("y", "1")
    if crs.is_geographic:
        return ("longitude", "degrees_east"), ("latitude", "degrees_north")
    unit = crs.linear_units
    return ("projection_x_coordinate", unit), ("projection_y_coordinate", unit)


def _layer(
    group: zarr.Group, name: str, dimensions: tuple[str, ...], shape: tuple[int, ...], **attributes: Any
) -> "zarr.Array[Any]":
    """An empty layer of uint8, 255 nodata."""
    chunks = (*(1,) * (len(shape) - 2), *(min(CHUNK, side) for side in shape[-2:]))
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype="uint8", fill_value=NODATA, compressors=_COMPRESSOR,
        attributes={"_ARRAY_DIMENSIONS": list(dimensions), **attributes},
    )  # fmt: skip


def _coordinate(group: zarr.Group, name: str, values: NDArray[Any], **attributes: Any) -> None:
    """A small array that is its own dimension, or a scalar; without a value that stands for nodata."""
    array = group.create_array(
        name, shape=values.shape, chunks=values.shape, dtype=values.dtype, fill_value=None, compressors=None,
        attributes={"_ARRAY_DIMENSIONS": [name] if values.ndim else [], **attributes},
    )  # fmt: skip
    array[...] = values
