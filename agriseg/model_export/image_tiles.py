"""Tiles of images as a network sees them in a run: read with their validity, normalised, padded with the mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.mapping.compatibility import check_compatibility
from agriseg.model import SegmentationModel
from agriseg.model_export.parity import Images
from agriseg.networks.normalization import Normalization
from agriseg.options.run import RunOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader, Source

_SEED = 0
_TRIES = 4  # places looked at for a tile with data


@dataclass(frozen=True)
class ImageTile:
    """One tile.

    Args:
        pixels: (1, C, side, side) float32, normalised; 0 where not valid.
        valid: (side, side) bool, True is data.
    """

    pixels: Images
    valid: NDArray[np.bool_]


def spread_tiles(
    model: SegmentationModel, images: Sequence[Path], options: RunOptions, side: int, count: int
) -> list[ImageTile]:
    """About `count` tiles with data, none of which overlap, drawn evenly from images and evenly within each.

    There are fewer where the images are small, or have little data. The order is random, and always the same.

    Args:
        options: with which a run reads the images.
        side: of a tile (px); what lies beyond an image is not valid.

    Raises:
        DataError: an image does not fit the model, or cannot be read.
    """
    rng = np.random.default_rng(_SEED)
    each = -(-count // len(images))
    tiles: list[ImageTile] = []
    for image in images:
        found = check_compatibility(RasterInfo.read(image), model, options)
        tiles += _of_image(found.source, model.normalization_of(found.raster_mean), side, each, rng)
    return [tiles[index] for index in rng.permutation(len(tiles))]


def _of_image(
    source: Source, normalization: Normalization, side: int, count: int, rng: np.random.Generator
) -> Iterator[ImageTile]:
    """Tiles of one image: its cells in the order of the rows are cut into `count` parts, one is drawn from each."""
    cells = [
        Window(col, row, min(side, source.width - col), min(side, source.height - row))
        for row in range(0, source.height, side)
        for col in range(0, source.width, side)
    ]
    with Reader(source) as reader:
        for part in np.array_split(np.arange(len(cells)), min(count, len(cells))):
            for index in rng.permutation(part)[:_TRIES]:
                tile = _read(reader, cells[index], normalization, side)
                if tile.valid.any():
                    yield tile
                    break


def _read(reader: Reader, window: Window, normalization: Normalization, side: int) -> ImageTile:
    strip = reader.read(window)
    pixels = np.zeros((1, len(strip.pixels), side, side), np.float32)
    valid = np.zeros((side, side), bool)
    valid[: window.height, : window.width] = strip.valid
    normalised = normalization(torch.from_numpy(strip.pixels), torch.from_numpy(strip.valid))
    pixels[0, :, : window.height, : window.width] = normalised.numpy()
    return ImageTile(pixels, valid)
