"""A synthetic field with its truth: rows of crop, soil, stress, weeds, and the collar of an orthomosaic.

The seed decides everything. The fields are simple: they show that the tool works, not that a model trained on them
works on a real field.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

from agriseg.legend import NODATA, Legend

LEGEND = Legend.from_names(
    ["soil", "healthy crop", "stressed crop", "weed"], ["#b08d62", "#1a9850", "#fdae61", "#d7191c"]
)
AFFECTED = ("stressed crop", "weed")
"""The affected classes."""
PIXEL_M = 0.05
_SOIL, _HEALTHY, _STRESSED, _WEED = range(4)
_ROW_M, _ROW_WIDTH_M = 0.75, 0.35
_WEEDS_PER_HA = 2500
_COLOURS = np.array([[142, 116, 90], [66, 116, 50], [118, 130, 60], [58, 134, 86]], np.float32)
_NOISE = 18.0  # standard deviation of a pixel, grey levels


@dataclass(frozen=True)
class SyntheticField:
    """Image (4, H, W) of red, green, blue, alpha, and truth (H, W): class ids of `LEGEND`, 255 in the collar."""

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def grow_field(height: int, width: int, seed: int) -> SyntheticField:
    """Grow a field of `height` x `width` pixels of 5 cm."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32) * PIXEL_M
    truth = np.full((height, width), _SOIL, np.uint8)
    heading = rng.uniform(-0.3, 0.3)
    across = x * np.cos(heading) + y * np.sin(heading) + 0.3 * _smooth(rng, height, width, 400)
    leaves = _smooth(rng, height, width, 8)  # gaps and bulges of single plants
    in_row = np.abs(across % _ROW_M - _ROW_M / 2) < _ROW_WIDTH_M / 2 * (1 + 0.25 * leaves)
    truth[in_row & (leaves > -1.8)] = _HEALTHY
    truth[(truth == _HEALTHY) & (_smooth(rng, height, width, 150) > 1.0)] = _STRESSED
    _sow_weeds(rng, truth)
    light = 1 + 0.08 * _smooth(rng, height, width, 500)
    texture = rng.normal(0, _NOISE, (3, height, width)).astype(np.float32)
    colours = _COLOURS[truth].transpose(2, 0, 1) * light + texture + 5 * leaves
    valid = _collar(rng, height, width)
    image = np.zeros((4, height, width), np.uint8)
    image[:3] = np.where(valid, np.clip(colours, 1, 255), 0)
    image[3] = np.where(valid, 255, 0)
    truth[~valid] = NODATA
    return SyntheticField(image, truth)


def write_field(folder: Path, field: SyntheticField) -> tuple[Path, Path]:
    """Write the image and the truth as GeoTIFFs; returns their paths."""
    height, width = field.truth.shape
    profile = {
        "driver": "GTiff", "dtype": "uint8", "height": height, "width": width, "tiled": True, "compress": "deflate",
        "crs": "EPSG:32633", "transform": rasterio.Affine(PIXEL_M, 0, 412_000, 0, -PIXEL_M, 5_402_000),
    }  # fmt: skip
    image, truth = folder / "field.tif", folder / "field_truth.tif"
    with rasterio.open(image, "w", count=4, photometric="RGB", alpha="YES", **profile) as dataset:
        dataset.write(field.image)
    with rasterio.open(truth, "w", count=1, nodata=NODATA, **profile) as dataset:
        dataset.write(field.truth, 1)
        dataset.write_colormap(1, LEGEND.colormap)
    return image, truth


def _smooth(rng: np.random.Generator, height: int, width: int, scale_px: int) -> NDArray[np.float32]:
    """Smooth noise (H, W) of standard deviation about 1 that changes over `scale_px` pixels."""
    coarse = rng.normal(0, 1, (1, 1, height // scale_px + 4, width // scale_px + 4))
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(coarse), scale_factor=float(scale_px), mode="bicubic", align_corners=False
    )[0, 0, scale_px : scale_px + height, scale_px : scale_px + width]
    return fine.numpy().astype(np.float32) * 1.3  # interpolation has made it flatter


def _sow_weeds(rng: np.random.Generator, truth: NDArray[np.uint8]) -> None:
    """Scatter round weeds of 8 to 25 cm radius, in place."""
    height, width = truth.shape
    count = int(_WEEDS_PER_HA * height * width * PIXEL_M**2 / 10_000)
    for row, col, radius in zip(
        rng.integers(0, height, count), rng.integers(0, width, count), rng.uniform(0.08, 0.25, count) / PIXEL_M,
        strict=True,
    ):  # fmt: skip
        reach = int(np.ceil(radius))
        top, left = max(0, row - reach), max(0, col - reach)
        part = truth[top : row + reach + 1, left : col + reach + 1]
        y, x = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
        part[(y - row) ** 2 + (x - col) ** 2 <= radius**2] = _WEED


def _collar(rng: np.random.Generator, height: int, width: int) -> NDArray[np.bool_]:
    """Valid pixels (H, W): a rotated rectangle, as a flight leaves it."""
    turn = rng.uniform(0.05, 0.15)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - height / 2, x - width / 2
    along, aside = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return np.asarray((np.abs(along) < 0.45 * width) & (np.abs(aside) < 0.43 * height))
