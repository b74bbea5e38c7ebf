"""A model with layers in int8: calibrated on images, compared with torch on tiles that were not calibrated with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from agriseg import files
from agriseg.backends.backend import Backend
from agriseg.backends.torch_backend import TorchBackend
from agriseg.errors import DataError, ModelError
from agriseg.model import SegmentationModel, load_model
from agriseg.model_export.image_tiles import ImageTile, spread_tiles
from agriseg.model_export.int8 import Int8Graph, with_int8_layers
from agriseg.model_export.onnx_export import map_graph, onnx_content, onnx_runner
from agriseg.model_export.parity import Parity, Runner, compare
from agriseg.networks.onnx_file import Int8Facts
from agriseg.options.run import RunOptions

LEAST_EQUAL = 0.99
"""Share of the labels that must be those of torch in fp32."""
LARGEST_LOSS = 0.01
"""By which the mean IoU may fall."""
_TILES = 32
_LEAST_TILES = 8
_HELD_BACK = 4  # one tile in four is not calibrated with
_REMEDY = "give more --calibrate images of such fields, or use the fp32 export; --force writes it all the same"

MeanIoU = Callable[[SegmentationModel], float]
"""Scores a model on labelled images."""


@dataclass(frozen=True)
class Int8Request:
    """What to quantise with.

    Args:
        images: to calibrate on; tiles of them are held back.
        options: with which a run reads the images.
        mean_iou: scores a model on its validation data; None without any.
        force: write the file however many labels differ.
    """

    images: tuple[Path, ...]
    options: RunOptions = field(default_factory=RunOptions)
    mean_iou: MeanIoU | None = None
    force: bool = False


def quantize(model: SegmentationModel, side: int, request: Int8Request) -> tuple[Int8Graph, Sequence[ImageTile]]:
    """Put the inner layers of a model in int8, and measure what that changes.

    Args:
        side: of the tiles that are calibrated with (px).

    Returns:
        The graph, and the tiles that it was not calibrated with.

    Raises:
        ModelError: the network has no inner layers, or too many labels differ.
        DataError: the images have too little data, or do not fit the model.
    """
    tiles = spread_tiles(model, request.images, request.options, side, _TILES)
    if len(tiles) < _LEAST_TILES:
        raise DataError(
            f"the --calibrate images hold {len(tiles)} tiles of {side} x {side} px with data, expected at least "
            f"{_LEAST_TILES}; give more images or larger ones, or a smaller --tile"
        )
    held_back, calibrated = tiles[::_HELD_BACK], [tile for n, tile in enumerate(tiles) if n % _HELD_BACK]
    content, layers, all_layers = with_int8_layers(map_graph(model), [tile.pixels for tile in calibrated])
    names = tuple(image.name for image in request.images)
    unknown = Int8Facts(names, len(calibrated), layers, all_layers, pixels=0, equal=0.0)
    with TemporaryDirectory(prefix="agriseg-") as folder:
        trial = Path(folder) / "int8.onnx"
        files.write_bytes(trial, onnx_content(model, None, Int8Graph(content, unknown)))
        torch_backend = TorchBackend(model, torch.device("cpu"), "fp32")
        found = compare_held_back(model, torch_backend, onnx_runner(trial), held_back)
        mean_iou = request.mean_iou and (request.mean_iou(model), request.mean_iou(load_model(trial)))
    facts = replace(unknown, pixels=found.pixels, equal=found.equal, mean_iou=mean_iou)
    if not request.force:
        _require(model, facts)
    return Int8Graph(content, facts), held_back


def compare_held_back(
    model: SegmentationModel, torch_backend: Backend, run: Runner, tiles: Sequence[ImageTile]
) -> Parity:
    """The parity over the valid pixels of tiles."""
    images = np.concatenate([tile.pixels for tile in tiles])
    return compare(model, torch_backend, run, "held-back", images, np.stack([tile.valid for tile in tiles]))


def _require(model: SegmentationModel, facts: Int8Facts) -> None:
    """Refuse a loss above the limits."""
    if not facts.equal >= LEAST_EQUAL:
        raise ModelError(
            f"model {model.name!r}: int8 gives another label at {1 - facts.equal:.2%} of {facts.pixels:,} held-back "
            f"pixels, expected at most {1 - LEAST_EQUAL:.0%}; {_REMEDY}"
        )
    if facts.mean_iou is not None and not facts.mean_iou[0] - facts.mean_iou[1] <= LARGEST_LOSS:
        before, after = facts.mean_iou
        raise ModelError(
            f"model {model.name!r}: int8 lowers the mean IoU from {before:.4f} to {after:.4f}, expected at most "
            f"{LARGEST_LOSS} less; {_REMEDY}"
        )
