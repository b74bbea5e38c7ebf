"""What the benchmarks share: a synthetic raster on disk and the machine's name."""

import platform
from pathlib import Path

import numpy as np
import rasterio
import torch


def field(path: Path, height: int, width: int, *, empty: float = 0.0) -> Path:
    """A seeded RGB raster of 16 px patches; the last `empty` share of its rows is nodata (0)."""
    rng = np.random.default_rng(0)
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 3, "height": height, "width": width, "tiled": True,
        "crs": "EPSG:32632", "transform": rasterio.Affine(0.1, 0, 5e5, 0, -0.1, 5e6), "compress": "deflate",
        "nodata": 0,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        for top in range(0, height, 512):
            rows = min(512, height - top)
            patches = rng.integers(1, 256, (3, -(-rows // 16), -(-width // 16)), np.uint8)
            pixels = patches.repeat(16, 1).repeat(16, 2)[:, :rows, :width].copy()
            pixels[:, max(0, round(height * (1 - empty)) - top) :] = 0
            dataset.write(pixels, window=rasterio.windows.Window(0, top, width, rows))
    return path


def machine() -> str:
    """The machine's name for a table of figures."""
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.system()}"
