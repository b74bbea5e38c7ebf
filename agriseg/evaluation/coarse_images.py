"""Images with larger pixels: what the same camera would have taken from higher up."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window as Box

from agriseg.errors import StorageError
from agriseg.grid import Window
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.reader import Reader, Source

_ROWS = 512  # of a strip


def write_coarse_image(path: Path, source: Source, size: tuple[int, int], parts: Sequence[Window]) -> None:
    """Write the bands of a source as a GeoTIFF of `size` (width, height) on the same ground, its pixels averaged.

    Only the windows `parts` of it are written; there is no data elsewhere. A pixel is the mean of the valid pixels that
    it covers, and has no data where they cover less than half of it. Numbers of whole-numbered types are rounded.

    Raises:
        DataError: the image cannot be read.
        StorageError: the file cannot be written.
    """
    coarse = replace(source, width=size[0], height=size[1])
    where, dtype = coarse.georeference, np.dtype(source.info.dtype)
    profile = {
        "driver": "GTiff", "dtype": dtype.name, "count": len(source.bands), "width": size[0], "height": size[1],
        "crs": where.crs, "transform": where.transform, "tiled": True, "blockxsize": 256, "blockysize": 256,
        "compress": "deflate", "zlevel": 1, "sparse_ok": True, "bigtiff": "IF_SAFER", "photometric": "MINISBLACK",
        "alpha": "NO",
    }  # fmt: skip
    with (
        gdal_calls(f"{path}: cannot be written; check the disk", StorageError),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        Reader(coarse) as reader,
        rasterio.open(path, "w", **profile) as target,
    ):
        for window in (strip for part in parts for strip in _strips(part)):
            strip = reader.read(window)
            stored = np.rint(strip.pixels) if dtype.kind in "iu" else strip.pixels
            box = Box(window.col_off, window.row_off, window.width, window.height)
            target.write(np.where(strip.valid, stored, 0).astype(dtype), window=box)
            target.write_mask(strip.valid, window=box)


def _strips(part: Window) -> Iterator[Window]:
    for top in range(part.row_off, part.row_stop, _ROWS):
        yield Window(part.col_off, top, part.width, min(_ROWS, part.row_stop - top))
