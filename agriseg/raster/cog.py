"""Layers as Cloud-Optimised GeoTIFFs that are read back and compared before they get their name.

GDAL can lose data without an error: on a full disk `close()` returns as if nothing had happened. So every pixel and
every overview of a file is compared with what was written.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.windows import Window

from agriseg.errors import StorageError
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.georeference import Georeference
from agriseg.raster.pam import PAM
from agriseg.raster.qml import where_it_lies
from agriseg.timing.stages import Clock, Stage, untimed

BLOCK = 512
"""Rows and columns of a block of the published files."""

_LEADER = _TRAILER = 4  # bytes around each block of a COG
_HEADER = 64  # bytes of a file in which its ghost area begins
_GHOST = re.compile(rb"GDAL_STRUCTURAL_METADATA_SIZE=(\d{6}) bytes\n")


class RowSource(Protocol):
    """Where a layer's pixels come from; they are read twice, to be written and to be compared."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def bands(self) -> int:
        """Number of bands."""

    @property
    def dtype(self) -> str:
        """Numpy name of the type: uint8 or float32."""

    @property
    def nodata(self) -> float:
        """Value of a pixel without data; may be NaN."""

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows `[start, stop)`, (bands, stop - start, width); the same at each call."""


@dataclass(frozen=True)
class Layer:
    """How rows become a file.

    Args:
        name: of the file while it is made.
        descriptions: one per band.
        resampling: of the overviews: mode for classes, average for shares.
        colormap: value to red, green, blue, alpha; for a single band.
        scale: physical value of one count.
        tags, band_tags: of the file, and of band 1.
    """

    name: str
    georeference: Georeference
    descriptions: tuple[str, ...]
    resampling: Resampling
    colormap: Mapping[int, tuple[int, int, int, int]] | None = None
    scale: float = 1.0
    tags: Mapping[str, str] = field(default_factory=dict)
    band_tags: Mapping[str, str] = field(default_factory=dict)


def write_cog(rows: RowSource, layer: Layer, folder: Path, threads: int, clock: Clock = untimed) -> tuple[Path, int]:
    """Write the file in a folder, on the disk where it stays, with as many threads, and verify it.

    Returns:
        Its path there, and the number of nodata pixels in band 1.

    Raises:
        StorageError: it could not be written, or it does not hold what was written.
    """
    draft, final = folder / f"{layer.name}.draft.tif", folder / f"{layer.name}.tif"
    failure = f"{final}: cannot be written, is the disk full?"
    for left in (draft, final, beside(draft)):  # of a killed run: GDAL would open it before it replaces it, and fail
        left.unlink(missing_ok=True)
    with gdal_calls(failure, StorageError) as messages:
        with clock(Stage.WRITE):
            _write_draft(draft, rows, layer, threads)
            rasterio.shutil.copy(
                draft, final, driver="COG", compress="DEFLATE", level=6, blocksize=BLOCK,
                predictor="NO" if rows.dtype == "uint8" else "YES",  # classes and counts are smaller without
                overview_resampling=layer.resampling.name, num_threads=threads, bigtiff="IF_SAFER",
                statistics="NO",
            )  # fmt: skip
            _keep_place(final, layer.georeference)
        with clock(Stage.VERIFY):
            nodata = _verify(final, draft, rows, layer)
            _check_layout(final)
    if messages:
        raise StorageError(f"{failure} ({'; '.join(messages)})")
    for left in (draft, beside(draft)):
        left.unlink(missing_ok=True)
    return final, nodata


def beside(path: Path) -> Path:
    """The `.aux.xml` of a file; only a file whose CRS has no GeoTIFF keys has one."""
    return path.with_name(f"{path.name}{PAM}")


def _keep_place(final: Path, where: Georeference) -> None:
    """Write a CRS that the file cannot hold beside it; GDAL would write more there, but not the CRS of points."""
    beside(final).unlink(missing_ok=True)
    with rasterio.open(final, driver="GTiff") as written:
        is_kept = _same_crs(written, where)
    if not is_kept:
        beside(final).write_text(where_it_lies(where), "utf-8")


def _same_crs(written: rasterio.DatasetReader, where: Georeference) -> bool:
    crs, expected = (written.gcps[1], where.gcp_crs) if where.gcps else (written.crs, where.crs)
    return bool((crs or CRS()) == (expected or CRS()))


def _write_draft(path: Path, rows: RowSource, layer: Layer, threads: int) -> None:
    """A plain GeoTIFF with overviews, written row by row."""
    where = layer.georeference
    profile = {
        "driver": "GTiff", "dtype": rows.dtype, "count": rows.bands, "nodata": rows.nodata,
        "width": rows.width, "height": rows.height, "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK,
        "compress": "ZSTD", "zstd_level": 1, "sparse_ok": True, "bigtiff": "IF_SAFER", "interleave": "band",
        "photometric": "PALETTE" if layer.colormap else "MINISBLACK",
    }  # fmt: skip
    if not where.gcps:
        profile |= {"crs": where.crs, "transform": where.transform}
    with rasterio.open(path, "w", **profile) as draft:
        if where.gcps:
            draft.gcps = (list(where.gcps), where.gcp_crs or CRS())
        draft.update_tags(AGRISEG_OUTPUT="yes", **layer.tags)  # a batch knows agriseg's own rasters by it
        draft.update_tags(1, **layer.band_tags)
        draft.descriptions = layer.descriptions
        if layer.colormap:
            draft.write_colormap(1, dict(layer.colormap))
        if layer.scale != 1:
            draft.scales = [layer.scale] * draft.count
        for start in range(0, rows.height, BLOCK):
            part = rows.read(start, min(start + BLOCK, rows.height))
            if not _is_nodata(part, rows.nodata).all():  # else the draft stays sparse there, which reads as nodata
                draft.write(part, window=Window(0, start, rows.width, part.shape[1]))
    longest = max(rows.width, rows.height)
    factors = [2**level for level in range(1, 32) if longest > BLOCK * 2 ** (level - 1)]
    if factors:
        with (
            rasterio.Env(ZSTD_LEVEL_OVERVIEW=1, GDAL_NUM_THREADS=threads),
            rasterio.open(path, "r+", driver="GTiff") as draft,
        ):
            draft.build_overviews(factors, layer.resampling)


def _is_nodata(pixels: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    return np.asarray(np.isnan(pixels) if math.isnan(nodata) else pixels == nodata)


def _same(one: NDArray[Any], two: NDArray[Any]) -> bool:
    """Whether two arrays hold the same numbers; NaN is NaN."""
    return np.array_equal(one, two, equal_nan=one.dtype.kind == "f")


def _verify(final: Path, draft: Path, rows: RowSource, layer: Layer) -> int:
    """Compare every pixel with the rows and every overview with the draft's; count nodata pixels."""
    nodata = 0
    with rasterio.open(final, driver="GTiff") as written:
        levels = len(written.overviews(1))
        _same_header(written, rows, layer)
        for start in range(0, rows.height, BLOCK):
            stop = min(start + BLOCK, rows.height)
            part = written.read(window=Window(0, start, rows.width, stop - start))
            nodata += int(np.count_nonzero(_is_nodata(part[0], rows.nodata)))
            if not _same(part, rows.read(start, stop)):
                raise StorageError(f"{final}: rows {start} to {stop} are not what was written; check the disk")
    with rasterio.open(draft, driver="GTiff") as sent:
        if levels != len(sent.overviews(1)):
            raise StorageError(f"{final}: {levels} overviews, expected {len(sent.overviews(1))}; check the disk")
    for level in range(levels):
        _same_overview(final, draft, level)
    return nodata


def _check_layout(final: Path) -> None:
    """The directory follows the header; blocks lie without gaps to the end, each between its size and its last bytes.

    When a write fails libtiff tries again at the end of the file and tells nobody: every pixel is right, but readers
    that believe the header of a COG (GDAL's specification of its "ghost area") would read the wrong place.
    """
    failure = f"{final}: its blocks do not lie as they were written; check the disk"
    with rasterio.open(final, driver="GTiff") as written, final.open("rb") as file:
        if not _directory_follows(file.read(_HEADER)):
            raise StorageError(failure)
        places = sorted(_blocks(written))
        ends = [place - _LEADER for place, _ in places[1:]] + [final.stat().st_size]
        for (place, size), end in zip(places, ends, strict=True):
            file.seek(place - _LEADER)
            stored = file.read(_LEADER + size + _TRAILER)
            whole = (
                int.from_bytes(stored[:_LEADER], "little") == size
                and stored[-2 * _TRAILER : -_TRAILER] == stored[-_TRAILER:]
            )
            if place + size + _TRAILER != end or not whole:
                raise StorageError(failure)


def _directory_follows(header: bytes) -> bool:
    """Whether the first directory begins right behind the ghost area, to the next even place."""
    big = header[2] == 43  # BigTIFF
    start, place = (16, header[8:16]) if big else (8, header[4:8])
    found = _GHOST.match(header, start)
    return found is not None and int.from_bytes(place, "little") - (found.end() + int(found[1])) in (0, 1)


def _blocks(dataset: rasterio.DatasetReader) -> Iterator[tuple[int, int]]:
    """Place and size (bytes) of each stored block of each level."""
    for level in range(len(dataset.overviews(1)) + 1):
        rows, cols = (math.ceil(side / (2**level * BLOCK)) for side in (dataset.height, dataset.width))
        overview = level - 1 if level else None
        for row, col in product(range(rows), range(cols)):
            place, size = (
                int(dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1, ovr=overview))
                for what in ("OFFSET", "SIZE")
            )
            yield place, size


def _same_header(written: rasterio.DatasetReader, rows: RowSource, layer: Layer) -> None:
    where = layer.georeference
    header = [rows.width, rows.height, rows.bands, rows.nodata]
    if not np.array_equal([written.width, written.height, written.count, written.nodata], header, equal_nan=True):
        raise StorageError(f"{written.name}: size, bands or nodata are not what was written; check the disk")
    if not where.gcps and written.transform != where.transform:
        raise StorageError(f"{written.name}: transform {written.transform} is not what was written")
    if not _same_crs(written, where):
        raise StorageError(f"{written.name}: its CRS is not what was written; give the raster one that has a code")
    points, expected = ([(p.row, p.col, p.x, p.y, p.z or 0.0) for p in each] for each in (written.gcps[0], where.gcps))
    if where.gcps and points != expected:
        raise StorageError(f"{written.name}: its ground control points are not what was written; check the disk")


def _same_overview(final: Path, draft: Path, level: int) -> None:
    with (
        rasterio.open(final, driver="GTiff", overview_level=level) as written,
        rasterio.open(draft, driver="GTiff", overview_level=level) as sent,
    ):
        for start in range(0, sent.height, BLOCK):
            window = Window(0, start, sent.width, min(BLOCK, sent.height - start))
            if not _same(written.read(window=window), sent.read(window=window)):
                raise StorageError(f"{final}: overview {level} is not what was written; check the disk")
