"""The fastest runtime that keeps the labels, measured on some tiles of a raster: `--backend auto`.

A measurement takes about two seconds of the network, and depends on what else the machine does. So the choice is stored
with the run, which resumes with it, and the usual runtime is left only for one that is clearly faster.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

import torch

from agriseg.backends.backend import Backend
from agriseg.backends.choose_backend import choose_backend, choose_runtime
from agriseg.errors import ModelError, UsageError
from agriseg.grid import Window
from agriseg.inference.classify import upsample
from agriseg.inference.edge_effect import SQUARE_STEPS
from agriseg.maps.runtime_choice import RuntimeChoice, RuntimeSpeed
from agriseg.model import SegmentationModel
from agriseg.networks import downsampling_factor
from agriseg.networks.exported import ExportedNetwork
from agriseg.options.run import AUTO, BACKENDS, RunOptions
from agriseg.raster.reader import Reader, Source

LEAST_EQUAL = 0.998
"""Share of the labels that must be those of the reference: torch in fp32, or for an ONNX file the usual runtime."""
_FASTER = 1.1  # times the usual runtime
_WORTH = 60.0  # seconds of the network for the raster: a tenth of it is what a measurement takes with its libraries
_BUDGET = 2.0  # seconds of the network, all runtimes together
_TILES = 3
_TRIES = 4  # places looked at for each tile with data
_LARGEST = 512  # px of the network: side of a tile at most
_FIRST = 128  # the same, of the tile that tells how long a pixel takes

Tile = tuple[torch.Tensor, torch.Tensor]
"""Network input (1, C, h, w) float32, and valid (h, w) bool."""


def choose_fastest(
    source: Source, model: SegmentationModel, options: RunOptions, roi: Window
) -> tuple[RuntimeChoice, Backend]:
    """The runtime to map a raster with, and its backend.

    Args:
        model: with the mean of the raster, if it normalizes by that.
        options: of the run; the runtime in them does not count.
        roi: the mapped window of the working grid.

    Raises:
        AgrisegError: of `choose_backend`, for the usual runtime; a block that cannot be read.
    """
    usual = choose_runtime(model, None)
    backend = choose_backend(model, replace(options, backend=usual))
    others = [name for name in BACKENDS if name not in (usual, AUTO) and is_installed(name)]
    if isinstance(model.network, ExportedNetwork):
        others = [name for name in others if name != "torch"]
    found = _reason_to_keep(model, options, roi, backend, others)
    if isinstance(found, str):
        return RuntimeChoice(usual, model.fingerprint, found), backend
    tiles = list(_tiles(source, model, roi, found))
    if not tiles:
        return RuntimeChoice(usual, model.fingerprint, "no tile with data was found to measure on"), backend
    backends, left_out = {usual: backend}, []
    for name in others:
        try:
            backends[name] = choose_backend(model, replace(options, backend=name))
        except (ModelError, UsageError) as error:  # it does not take this network, or not in this precision
            left_out.append(f"; not {name}: {error}")
    choice = _measured(model, backends, _reference(model, options, backend), tiles)
    return replace(choice, reason="".join([choice.reason, *left_out])), backends[choice.runtime]


def is_installed(runtime: str) -> bool:
    """Whether a runtime, and what it needs to get a network, is there."""
    return runtime == "torch" or all(find_spec(each) for each in ("onnx", runtime))


def _reason_to_keep(
    model: SegmentationModel, options: RunOptions, roi: Window, backend: Backend, others: Sequence[str]
) -> str | int:
    """Why nothing is to be measured; else the side of the tiles to measure on (px)."""
    if backend.device.type != "cpu":
        return "only torch computes on this device"
    if not others:
        return "no other is installed"
    factor, step = downsampling_factor(model.network), model.step
    first = -(-_FIRST * factor // step) * step
    tile = torch.zeros(1, len(model.bands), first, first).contiguous(memory_format=torch.channels_last)
    backend.logits(tile)  # the first call also sets up the kernels
    rate = first**2 / _seconds(backend, tile)
    if roi.width * roi.height < _WORTH * rate:
        return "the raster is too small to gain anything by a measurement"
    passes = (len(others) + 2) * (_TILES + 1)  # one for the reference
    side = min(int(math.sqrt(_BUDGET / passes * rate)), _LARGEST * factor, roi.width, roi.height) // step * step
    return side or "the raster is narrower than a tile"


def _tiles(source: Source, model: SegmentationModel, roi: Window, side: int) -> Iterator[Tile]:
    """Some tiles with data, spread evenly over the mapped window."""
    count = 0
    with Reader(source) as reader:
        for number in range(_TRIES * _TILES):
            col, row = (
                start + int((0.5 + number * part) % 1 * (length - side + 1))
                for (start, length), part in zip(
                    ((roi.col_off, roi.width), (roi.row_off, roi.height)), SQUARE_STEPS, strict=True
                )
            )
            strip = reader.read(Window(col, row, side, side))
            valid = torch.from_numpy(strip.valid)
            if valid.any():
                pixels = model.normalization(torch.from_numpy(strip.pixels), valid)[None]
                yield pixels.contiguous(memory_format=torch.channels_last), valid
                count += 1
            if count == _TILES:
                return


def _reference(model: SegmentationModel, options: RunOptions, usual: Backend) -> Backend:
    """What labels are compared with."""
    if isinstance(model.network, ExportedNetwork) or usual.precision.startswith("fp32"):
        return usual
    return choose_backend(model, replace(options, backend="torch", precision="fp32"))


def _measured(
    model: SegmentationModel, backends: Mapping[str, Backend], reference: Backend, tiles: Sequence[Tile]
) -> RuntimeChoice:
    """The choice; the first of the backends is the usual one. They take turns."""
    wanted = [_labels(reference, model, tile) for tile in tiles]
    pixels = sum(len(each) for each in wanted)
    equal = dict.fromkeys(backends, 0)
    seconds = dict.fromkeys(backends, math.inf)
    for tile, labels in zip(tiles, wanted, strict=True):
        for name, backend in backends.items():
            equal[name] += int((_labels(backend, model, tile) == labels).sum())
    for pixel, _ in tiles:
        for name, backend in backends.items():
            seconds[name] = min(seconds[name], _seconds(backend, pixel))
    size = tiles[0][0].shape[2] * tiles[0][0].shape[3] / 1e6
    speeds = tuple(RuntimeSpeed(name, size / seconds[name], equal[name] / pixels) for name in backends)
    usual, *others = speeds
    able = [
        each for each in others
        if each.equal >= LEAST_EQUAL and each.megapixels_per_second >= _FASTER * usual.megapixels_per_second
    ]  # fmt: skip
    best = max(able, key=lambda each: each.megapixels_per_second, default=usual)
    reason = "no other is a tenth faster with the same labels" if best is usual else "the fastest with the same labels"
    return RuntimeChoice(best.runtime, model.fingerprint, reason, speeds)


@torch.inference_mode()
def _labels(backend: Backend, model: SegmentationModel, tile: Tile) -> torch.Tensor:
    """Classes of the pixels with data, in one row."""
    pixels, valid = tile
    return upsample(backend.logits(pixels)[0], model.stride).argmax(0)[valid]


def _seconds(backend: Backend, pixels: torch.Tensor) -> float:
    began = time.perf_counter()
    backend.logits(pixels)
    return time.perf_counter() - began
