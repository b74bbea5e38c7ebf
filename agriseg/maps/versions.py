"""Versions of what makes a map, told without loading it."""

from importlib.metadata import version

import rasterio

_PACKAGES = ("agriseg", "torch", "torchvision", "rasterio", "numpy", "dask", "zarr")


def versions() -> dict[str, str]:
    """Name to version."""
    return {name: version(name) for name in _PACKAGES} | {"gdal": rasterio.__gdal_version__}
