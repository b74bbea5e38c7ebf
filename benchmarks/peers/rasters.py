"""Reading and writing whole rasters, as an engine does that has no files of its own."""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window


def pixels(path: Path | str) -> NDArray[np.uint8]:
    """(C, h, w) stored numbers."""
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def classes_of(path: Path | str) -> NDArray[np.uint8]:
    """(h, w) class ids."""
    return np.asarray(pixels(path)[0], np.uint8)


def valid_of(path: Path | str) -> NDArray[np.bool_]:
    """(h, w), True is data, as the file says."""
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.dataset_mask() > 0)


def write_classes(path: Path | str, classes: NDArray[np.uint8], like: Path | str) -> None:
    """Write (h, w) class ids as a compressed GeoTIFF on the grid of another raster."""
    with rasterio.open(like) as dataset:
        profile = {"crs": dataset.crs, "transform": dataset.transform}
    profile |= {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "compress": "deflate", "tiled": True}
    with rasterio.open(path, "w", height=classes.shape[0], width=classes.shape[1], **profile) as dataset:
        dataset.write(classes, 1)


def cut(source: Path, window: Window, target: Path) -> Path:
    """A window of a raster as a compressed GeoTIFF, with its georeference and nodata value."""
    with rasterio.open(source) as dataset:
        profile = {
            "driver": "GTiff", "dtype": dataset.dtypes[0], "count": dataset.count, "crs": dataset.crs,
            "transform": dataset.window_transform(window), "nodata": dataset.nodata, "height": window.height,
            "width": window.width, "compress": "deflate", "tiled": True, "blockxsize": 512, "blockysize": 512,
        }  # fmt: skip
        with rasterio.open(target, "w", **profile) as made:
            made.write(dataset.read(window=window))
    return target
