"""Whether an exported network gives the labels of torch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.backends.backend import Backend
from agriseg.errors import DataError, ModelError
from agriseg.grid import Window
from agriseg.inference.classify import upsample
from agriseg.mapping.compatibility import check_compatibility
from agriseg.model import SegmentationModel
from agriseg.options.run import RunOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader

Images = NDArray[np.float32]
Runner = Callable[[Images], Images]
"""Runs an exported network: (B, C, h, w) -> probabilities (B, K, h, w)."""
ALLOWED = 0.001
"""Share of the pixels that may have another label in an export in fp32."""
_TILES = 4  # of a raster
_PATCH = 8  # px: random pixels alone would show a network nothing like a field


@dataclass(frozen=True)
class Parity:
    """How much of some tiles has the label that torch gives in fp32.

    Args:
        tiles: what they show: `random`, or the name of a raster.
        pixels: with data, that were compared.
        equal: share of them with the same label, in [0, 1].
        error: largest difference of a probability.
    """

    tiles: str
    pixels: int
    equal: float
    error: float


def random_tiles(model: SegmentationModel, side: int) -> Images:
    """Two tiles (2, C, side, side) of patches with noise, in the range of normalised pixels."""
    rng = np.random.default_rng(0)
    count, cells = len(model.bands), -(-side // _PATCH)
    patches = rng.uniform(-2, 2, (2, count, cells, cells)).repeat(_PATCH, 2).repeat(_PATCH, 3)[:, :, :side, :side]
    return np.asarray(patches + rng.normal(0, 0.2, patches.shape), np.float32)


def raster_tiles(model: SegmentationModel, image: Path, side: int) -> Images:
    """Up to four tiles (B, C, side, side) of a raster with the most valid pixels, normalised for the model.

    Raises:
        DataError: the raster does not fit the model, is smaller than a tile, or has no valid pixel.
    """
    found = check_compatibility(RasterInfo.read(image), model, RunOptions())
    source, normalization = found.source, model.normalization_of(found.raster_mean)
    rows, cols = (range(0, size - side + 1, side) for size in (source.height, source.width))
    tiles: list[tuple[int, torch.Tensor]] = []
    with Reader(source) as reader:
        for row in rows[:: max(1, len(rows) // _TILES)]:
            for col in cols[:: max(1, len(cols) // _TILES)]:
                strip = reader.read(Window(col, row, side, side))
                valid = torch.from_numpy(strip.valid)
                pixels = normalization(torch.from_numpy(strip.pixels), valid)
                tiles.append((int(valid.sum()), pixels))
    tiles = sorted((each for each in tiles if each[0]), key=lambda each: -each[0])[:_TILES]
    if not tiles:
        raise DataError(f"{image}: no tile of {side} x {side} px with data; give a larger raster, or a smaller --tile")
    return np.stack([pixels.numpy() for _, pixels in tiles])


def compare(
    model: SegmentationModel, torch_backend: Backend, run: Runner, name: str, images: Images,
    valid: NDArray[np.bool_] | None = None,
) -> Parity:  # fmt: skip
    """The parity over some tiles (B, C, h, w), one at a time; with `valid` (B, h, w), over the pixels with data."""
    masks = np.ones((len(images), *images.shape[2:]), bool) if valid is None else valid
    same, error = 0, 0.0
    for (ours, theirs), mask in zip(_pairs(model, torch_backend, run, images), masks, strict=True):
        same += int(((ours.argmax(0) == theirs.argmax(0)) & mask).sum())
        error = max(error, float(np.abs(ours - theirs)[:, mask].max(initial=0)))
    pixels = int(masks.sum())
    return Parity(name, pixels, same / pixels, error)


def require(model: SegmentationModel, parities: Sequence[Parity], allowed: float) -> None:
    """Refuse an export with other labels.

    Raises:
        ModelError: more than this share of the labels differ.
    """
    for parity in parities:
        if not parity.equal >= 1 - allowed:
            raise ModelError(
                f"model {model.name!r}: the export gives another label at {1 - parity.equal:.2%} of the pixels of "
                f"{parity.tiles} tiles, expected at most {allowed:.1%}; nothing was written, use the .safetensors"
            )


def _pairs(
    model: SegmentationModel, torch_backend: Backend, run: Runner, images: Images
) -> Iterator[tuple[Images, Images]]:
    """Probabilities (K, h, w) of torch and of the exported network for each tile."""
    for image in images:
        batch = torch.from_numpy(image[None]).contiguous(memory_format=torch.channels_last)
        logits = upsample(torch_backend.logits(batch)[0], model.stride)
        yield torch.softmax(logits / model.temperature, 0).numpy(), run(image[None])[0]
