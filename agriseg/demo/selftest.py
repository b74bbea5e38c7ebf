"""The self-test of an installation: maps whose truth is known, over the cases that break tilings.

A pixelwise network must give exactly the class of each pixel for any shape, nodata, overlap, margin and batch. A
convolutional network in exact mode must give what one untiled forward gives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

from agriseg.backends.torch_backend import TorchBackend
from agriseg.demo.reference_models import LEVELS, nearest_level, random_network
from agriseg.legend import NODATA
from agriseg.model import SegmentationModel
from agriseg.workflow import segment

Pixels = NDArray[np.uint8]

_TILE = 64
_SIDES = (1, 7, _TILE - 1, _TILE, _TILE + 1, 2 * _TILE - 1, 97, 131)  # the last two are primes
_SHAPES = ((1000, 777), (100, 90), (120, 1000), (300, 200), (256, 256))
_BLENDS: dict[str, dict[str, int | str]] = {
    "exact": {"blend": "exact"},
    "smooth": {"blend": "smooth"},
    "fast": {"blend": "fast"},
    "hann": {"overlap": _TILE // 2, "margin": 0},
    "abutting": {"overlap": 0},
}
_TOLERATED = 1e-5  # share of pixels where an untiled forward may differ, in fp32


@dataclass(frozen=True)
class SelftestCase:
    """A raster (3, H, W) and its declared nodata value."""

    name: str
    pixels: Pixels
    nodata: int | None = None


@dataclass(frozen=True)
class SelftestResult:
    """The number of wrong pixels of one map, and how many are allowed."""

    name: str
    wrong: int
    allowed: int

    @property
    def ok(self) -> bool:
        """Whether the map is right."""
        return self.wrong <= self.allowed


def run_selftest(folder: Path) -> Iterator[SelftestResult]:
    """Run all checks in a scratch folder; each result is yielded when it is known."""
    model = nearest_level()
    for case in _cases():
        image, truth = _write(folder / "case.tif", case), _nearest(case)
        batches = (1, 3, 8) if case.name.startswith("131") else (3,)
        for (name, flags), batch in product(_BLENDS.items(), batches):
            mask = _map(image, model, folder, tile=_TILE, batch=batch, **flags)
            yield SelftestResult(f"{case.name}, {name}, batch {batch}", _differing(mask, truth), 0)
    yield from _untiled(folder)


def _cases() -> Iterator[SelftestCase]:
    rng = np.random.default_rng(0)

    def noise(height: int, width: int, low: int = 0) -> Pixels:
        return rng.integers(low, 256, (3, height, width), np.uint8)

    for height, width in (*((side, side) for side in _SIDES), *_SHAPES):
        yield SelftestCase(f"{height} x {width}", noise(height, width))
    half_black = noise(200, 300)
    half_black[0, :100] = 0
    yield SelftestCase("one band 0 in half of the pixels, nothing declared", half_black)
    holed = noise(300, 400, low=1)
    holed[:, 50:170, 90:260] = 0
    yield SelftestCase("nodata block inside", holed, nodata=0)
    collar = noise(300, 400, low=1)
    collar[:, :, :130] = collar[:, 210:] = 0
    yield SelftestCase("nodata collar wider than a tile", collar, nodata=0)
    yield SelftestCase("no valid pixel", np.zeros((3, 90, 70), np.uint8), nodata=0)


def _nearest(case: SelftestCase) -> Pixels:
    """The truth of `nearest_level`, computed with numpy over the whole raster."""
    grey = case.pixels.astype(np.float32).mean(0, dtype=np.float32)
    truth: Pixels = np.stack([-np.abs(grey - level) for level in LEVELS]).argmax(0).astype(np.uint8)
    if case.nodata is not None:
        truth[(case.pixels == case.nodata).all(0)] = NODATA
    return truth


def _untiled(folder: Path) -> Iterator[SelftestResult]:
    patches = np.random.default_rng(1).integers(0, 256, (3, 60, 50), np.uint8)
    case = SelftestCase("fcn_small", patches.repeat(7, 1).repeat(7, 2)[:, :413, :349].copy())
    model = random_network("fcn_small")
    image = _write(folder / "case.tif", case)
    mask = _map(image, model, folder, tile=160, blend="exact", precision="fp32")
    truth = whole_forward(model, case.pixels)
    allowed = int(_TOLERATED * truth.size)
    yield SelftestResult("fcn_small, exact, against one untiled forward", _differing(mask, truth), allowed)


@torch.inference_mode()
def whole_forward(model: SegmentationModel, pixels: Pixels) -> Pixels:
    """Classes (H, W) of one forward over a whole raster (C, H, W), padded with the normalised mean."""
    height, width = pixels.shape[1:]
    padded = (-(-side // model.step) * model.step for side in (height, width))
    x = torch.zeros(1, len(model.bands), *padded).contiguous(memory_format=torch.channels_last)
    x[0, :, :height, :width] = model.normalization(
        torch.from_numpy(pixels), torch.ones(height, width, dtype=torch.bool)
    )
    logits = TorchBackend(model, torch.device("cpu"), "fp32").logits(x)
    logits = torch.nn.functional.interpolate(logits, size=x.shape[2:], mode="bilinear", align_corners=False)
    return np.asarray(logits[0, :, :height, :width].argmax(0), np.uint8)


def _write(path: Path, case: SelftestCase) -> Path:
    count, height, width = case.pixels.shape
    profile = {"driver": "GTiff", "dtype": "uint8", "count": count, "height": height, "width": width}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.05, 0, 5e5, 0, -0.05, 5.4e6)}
    with rasterio.open(path, "w", nodata=case.nodata, **profile, **place) as dataset:
        dataset.write(case.pixels)
    return path


def _map(image: Path, model: SegmentationModel, folder: Path, **flags: Any) -> Pixels:
    report = segment(image, model, folder / "map", overwrite=True, device="cpu", **flags)
    with rasterio.open(report.classes) as dataset:
        mask: Pixels = dataset.read(1)
    return mask


def _differing(mask: Pixels, truth: Pixels) -> int:
    return int(np.count_nonzero(mask != truth)) if mask.shape == truth.shape else truth.size
