"""Random runs: any raster, any network, any way to cut it. A trial is a function of a seed and a number."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from conftest import UTM
from rasterio.enums import ColorInterp
from reference import Made, Tiling, blended, normalised

from agriseg import Legend, SegmentationModel
from agriseg.demo.reference_models import nearest_level, random_network
from agriseg.networks.receptive_field import ReceptiveField

POINTWISE = ("levels", "points", "points of 4", "points of 6")
CONVOLUTIONAL = ("fcn_small", "unet_small", "fcn_small/2", "fcn_small/3", "stride 8", "stride 3")
HOLES = ("none", "nodata", "alpha", "mask", "nan")


class Points(torch.nn.Module):
    """Sees one pixel alone: a random function of its bands."""

    def __init__(self, bands: int, classes: int, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.register_buffer("levels", 2 * torch.rand((classes, bands), generator=rng) - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Minus the distance to each class's levels, band by band."""
        return torch.stack([-sum((x[:, c] - level[c]).abs() for c in range(len(level))) for level in self.levels], 1)


def strided(bands: int, classes: int, seed: int, strides: tuple[int, ...]) -> torch.nn.Module:
    """Convolutions of random weights, each with its stride."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[torch.nn.Module] = []
        for stride in strides:
            layers += [torch.nn.Conv2d(bands, 12, 3, stride=stride, padding=1), torch.nn.ReLU()]
            bands = 12
        return torch.nn.Sequential(*layers, torch.nn.Conv2d(bands, classes, 1)).eval()


@cache
def model_of(kind: str) -> SegmentationModel:
    """One of each kind; the networks of a few layers have random weights."""
    if kind == "levels":
        return nearest_level()
    if kind in CONVOLUTIONAL[:4]:
        return random_network(kind)
    bands = {"points of 4": 4, "points of 6": 6, "stride 8": 4}.get(kind, 2)
    strides = {"stride 8": (2, 2, 2), "stride 3": (3, 1)}.get(kind, ())
    reach = ReceptiveField()
    for stride in strides:
        reach = reach.conv(3, stride=stride)
    network = strided(bands, 5, 1, strides) if strides else Points(bands, 3, 0)
    return SegmentationModel(
        network, legend=Legend.from_names([f"class {k}" for k in range(5 if strides else 3)]),
        bands=tuple(f"b{n + 1}" for n in range(bands)), scale=1 / 255, mean=(0.5,) * bands,
        std=tuple(0.25 + 0.01 * n for n in range(bands)), stride=reach.stride, halo=reach.halo,
        align={"points of 4": 4, "stride 8": 16}.get(kind, reach.stride), name=kind,
    )  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """A raster, a model by its kind, and the flags of a run."""

    kind: str
    height: int
    width: int
    dtype: str
    bands: int
    numbers: tuple[int, ...]
    holes: str
    flags: dict[str, Any]
    seed: tuple[int, int]

    @property
    def model(self) -> SegmentationModel:
        return model_of(self.kind)

    @property
    def window(self) -> tuple[slice, slice]:
        """What of the raster is mapped."""
        left, top, width, height = self.flags.get("window", (0, 0, self.width, self.height))
        return slice(top, top + height), slice(left, left + width)


def trial(seed: int, number: int) -> Trial:
    """The one of this seed and number."""
    rng = np.random.default_rng((seed, number))
    kind = str(rng.choice(POINTWISE + CONVOLUTIONAL))
    model = model_of(kind)
    cut = _cut(rng, model)
    # no more tiles than take some milliseconds
    longest, steps = (40, 5) if kind in POINTWISE else (130, 4)
    most = min(longest, steps * (cut.tile - cut.overlap) + cut.overlap)
    height, width = (_side(rng, cut, most) for _ in range(2))
    bands = len(model.bands) + int(rng.integers(0, 3))
    numbers = tuple(int(n) for n in rng.permutation(bands)[: len(model.bands)] + 1)
    dtype = str(rng.choice(["uint8", "uint8", "int16", "float32"]))
    holes = str(rng.choice(HOLES if dtype == "float32" else HOLES[:4]))
    flags = {"tile": cut.tile, **_blend(rng, cut, model), "bands": numbers, "precision": "fp32", "gsd": "native"}
    for name, values in {"batch": (1, 2, 5), "threads": (1, 2, 4), "band_rows": (1, 2, 3, 9)}.items():
        if rng.random() < 0.6:
            flags[name] = int(rng.choice(values))
    if rng.random() < 0.4:
        flags["probabilities"] = True
    if rng.random() < 0.7:
        flags["window"] = _window(rng, height, width, cut)
    return Trial(kind, height, width, dtype, bands, numbers, holes, flags, (seed, number))


def _cut(rng: np.random.Generator, model: SegmentationModel) -> Tiling:
    """Any tile, overlap and margin that the rules allow."""
    align, stride = model.step, model.stride
    if model.halo and model.halo <= 32 and rng.random() < 0.3:  # room for an exact map
        overlap = -(-2 * model.halo // align) * align
        return Tiling(
            2 * overlap + align * int(rng.integers(0, 3)), overlap, overlap // 2 // stride * stride, stride, align
        )
    tile = align * int(rng.integers(1, 13 if align <= 8 else 6))
    overlap = align * max(rng.integers(0, tile // align // 2 + 1, 2))
    margin = stride * max(rng.integers(0, overlap // 2 // stride + 1, 2))
    return Tiling(tile, int(overlap), int(margin), stride, align)


def _blend(rng: np.random.Generator, cut: Tiling, model: SegmentationModel) -> dict[str, Any]:
    """Numbers or a preset."""
    exact = model.halo is not None and cut.tile >= 4 * -(-model.halo // model.step) * model.step
    if exact and rng.random() < 0.6:
        return {"blend": "exact"}
    if rng.random() < 0.3:
        return {"blend": str(rng.choice(["smooth", "fast"]))}
    return {"overlap": cut.overlap, "margin": cut.margin}


def _side(rng: np.random.Generator, cut: Tiling, most: int) -> int:
    """A length: often one that sits on an edge of the rules."""
    edges = [1, cut.tile - 1, cut.tile, cut.tile + 1, 2 * cut.tile - cut.overlap + int(rng.integers(-1, 2))]
    side = int(rng.choice(edges)) if rng.random() < 0.3 else int(rng.integers(1 + most // 4, most + 1))
    return max(1, min(side, most))


def _window(rng: np.random.Generator, height: int, width: int, cut: Tiling) -> tuple[int, int, int, int]:
    """Anywhere; ends are often where one tile takes over from another, and some windows are one pixel."""
    spans, step = [], cut.tile - cut.overlap
    for size in (width, height):
        stop = int(rng.integers(1, size + 1))
        if rng.random() < 0.5:
            stop = step * int(rng.integers(0, 1 + size // step)) + int(rng.integers(-1, 2 + cut.overlap))
        stop = min(max(stop, 1), size)
        start = stop - 1 if rng.random() < 0.1 else int(rng.integers(0, stop))
        spans.append((start, stop - start))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def paint(what: Trial, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write the raster of a trial.

    Returns:
        The bands that the model uses (C, H, W), in its order, and where there is data (H, W).
    """
    rng = np.random.default_rng((*what.seed, 1))
    shape = (what.bands, what.height, what.width)
    side = int(rng.integers(1, 6))
    low = 1 if what.dtype == "uint8" else 40  # or numbers look like shares, which the model does not expect
    small = rng.integers(low, 256, (what.bands, -(-what.height // side), -(-what.width // side)))
    pixels = small.repeat(side, 1).repeat(side, 2)[:, : what.height, : what.width].astype(what.dtype)
    assert pixels.shape == shape
    valid = np.ones(shape[1:], bool)
    for _ in range(int(rng.integers(1, 4)) if what.holes != "none" else 0):
        (top, left), (bottom, right) = (rng.integers(0, np.add(shape[1:], 1)) for _ in range(2))
        valid[min(top, bottom) : max(top, bottom), min(left, right) : max(left, right)] = False
    profile: dict[str, Any] = {"photometric": "MINISBLACK"}
    if what.holes == "nodata":
        value = 0 if what.dtype != "float32" else -10000
        pixels[:, ~valid] = value
        profile["nodata"] = value
    elif what.holes == "nan":
        pixels[int(rng.choice(what.numbers)) - 1, ~valid] = np.nan
    used = pixels[[number - 1 for number in what.numbers]]
    if what.holes == "alpha":
        full = np.where(valid, 255, 0).astype(what.dtype)
        pixels = np.concatenate([pixels, full[None]])
    if rng.random() < 0.3:
        profile |= {"tiled": True, "blockxsize": 16, "blockysize": 32}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=len(pixels), height=what.height, width=what.width, dtype=what.dtype,
            **UTM, **profile,
        ) as dataset,
    ):  # fmt: skip
        if what.holes == "alpha":
            dataset.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * (len(pixels) - 2), ColorInterp.alpha]
        dataset.write(pixels)
        if what.holes == "mask":
            dataset.write_mask(valid)
    return used, valid


def expected(what: Trial, used: np.ndarray, valid: np.ndarray, cut: Tiling) -> Made:
    """The reference's answer for the whole raster."""
    model = what.model
    x = normalised(used, valid, model.scale, np.array(model.mean), np.array(model.std))
    return blended(model.network.eval(), x, valid, cut)
