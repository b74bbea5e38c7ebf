"""The only code that opens raster files of others: nothing else calls `rasterio.open` to read an input.

A raster may come from anyone. A text file named `field.tif` can make GDAL fetch a URL or return another file's
bytes as pixels; a sidecar beside a clean TIFF can do the same; 400 kB can declare a block of gigabytes. So
drivers are on an allow-list, drivers that follow references are switched off for the process, and sizes are
checked before the first read.
"""

import os
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Interleaving

from agriseg.errors import AccessError, DataError, InputMissing, UsageError
from agriseg.files import reading_error
from agriseg.raster.gdal_env import gdal_calls

_MAGIC = (
    (b"II*\0", "GTiff"), (b"MM\0*", "GTiff"), (b"II+\0", "GTiff"), (b"MM\0+", "GTiff"),
    (b"\x89PNG", "PNG"), (b"\xff\xd8", "JPEG"),
)  # fmt: skip
"""First bytes of a file and the one GDAL driver that may then open it."""

MAX_BANDS = 64
MAX_PIXELS = 500_000_000_000
"""Pixels of one band; far above any orthomosaic, below what a few forged bytes can declare."""
MAX_BLOCK_BYTES = 512 * 2**20
"""Bytes of one stored block (tile or strip), which GDAL must hold at once."""


def open_raster(path: Path, **options: Any) -> rasterio.DatasetReader:
    """Open a regular file for reading, with GDAL's open options, after checks that need no pixel.

    Raises:
        InputMissing: no such file, or no regular file.
        AccessError: the file may not be read.
        DataError: not a raster of an allowed driver, damaged, or beyond the size limits.
    """
    check_regular(path)
    driver = _driver(path)
    with gdal_calls(f"{path}: damaged, {driver} cannot open it; copy it again"):
        dataset = rasterio.open(path.resolve(), driver=driver, sharing=False, **options)
        try:
            _check_size(path, dataset)
        except DataError:
            dataset.close()
            raise
    return dataset


def check_regular(path: Path) -> None:
    """Refuse what is not a readable regular file, before anything tries to read it."""
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/|/vsi", str(path)):
        raise UsageError(
            f"{path}: a remote or virtual file, expected one on this machine; fetch it, or --allow-remote for http, s3"
        )
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise AccessError(f"{path}: may not be looked at; change the permissions of its folder") from error
    except (OSError, ValueError) as error:
        raise InputMissing(f"{path}: no such file; check the name") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise InputMissing(f"{path}: this is {kind}, expected a raster file; name the .tif itself")
    if not os.access(path, os.R_OK):
        raise AccessError(f"{path}: may not be read; change its permissions")


def _check_size(path: Path, dataset: rasterio.DatasetReader) -> None:
    """Refuse, by the header, sizes that no field raster has."""
    if not 1 <= dataset.count <= MAX_BANDS:
        raise DataError(f"{path}: {dataset.count} bands, expected 1 to {MAX_BANDS}; take the needed ones out first")
    pixels = dataset.width * dataset.height
    if pixels > MAX_PIXELS:
        raise DataError(f"{path}: {pixels:.1e} pixels is beyond the limit of {MAX_PIXELS:.0e}; cut it into parts")
    if dataset.dtypes[0].startswith("complex"):
        raise DataError(f"{path}: {dataset.dtypes[0]} pixels, expected real numbers; export amplitude or intensity")
    rows, cols = dataset.block_shapes[0]
    bands = dataset.count if dataset.interleaving == Interleaving.pixel else 1
    block = rows * cols * bands * np.dtype(dataset.dtypes[0]).itemsize
    if block > MAX_BLOCK_BYTES:
        raise DataError(
            f"{path}: one stored block is {block / 2**20:.0f} MiB, the limit is {MAX_BLOCK_BYTES // 2**20}; "
            "store it tiled: gdal_translate -co TILED=YES"
        )


def _driver(path: Path) -> str:
    """The driver for this file by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise reading_error(path, error) from error
    for magic, driver in _MAGIC:
        if head.startswith(magic):
            return driver
    if not head:
        raise DataError(f"{path}: the file is empty; copy it again")
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: a git-lfs pointer, not the raster itself; run 'git lfs pull'")
    kind = "text" if head.isascii() else "of an unknown format"
    raise DataError(f"{path}: this is {kind}, expected a GeoTIFF, PNG or JPEG; convert it with gdal_translate")
