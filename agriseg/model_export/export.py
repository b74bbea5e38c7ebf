"""Writes a model for another runtime, once its labels are compared with those of torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from agriseg import files
from agriseg.backends.backend import Backend
from agriseg.backends.torch_backend import TorchBackend
from agriseg.errors import ModelError, UsageError
from agriseg.model import SegmentationModel
from agriseg.model_export import parity
from agriseg.model_export.image_tiles import ImageTile
from agriseg.model_export.int8 import Int8Graph
from agriseg.model_export.onnx_export import onnx_content, onnx_runner
from agriseg.model_export.parity import Parity, Runner
from agriseg.model_export.quantize import LEAST_EQUAL, Int8Request, compare_held_back, quantize
from agriseg.networks.exported import ExportedNetwork
from agriseg.networks.network_input import downsampling_factor
from agriseg.networks.onnx_file import Int8Facts

TARGETS: Mapping[str, str] = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
"""Format to the suffix of its file."""
ANY = "any"
_TILE = 512  # px of the network, as a run has by default
_SIDES = (192, 256)  # px of the network, of images that a file for any size is compared on


@dataclass(frozen=True)
class ModelExport:
    """What was written.

    Args:
        files: the one that a program opens first.
        tile: side of the tiles that it takes in pixels; None for images of any size.
        parities: comparisons with torch.
        int8: what is known of layers in int8; None without.
    """

    files: tuple[Path, ...]
    target: str
    tile: int | None
    parities: tuple[Parity, ...]
    int8: Int8Facts | None = None


def export_model(
    model: SegmentationModel, target: str, path: Path, tile: int | None, image: Path | None = None,
    int8: Int8Request | None = None,
) -> ModelExport:  # fmt: skip
    """Write a model as a file of `TARGETS`, and for openvino an .bin beside it; existing ones are replaced.

    Args:
        tile: side of square tiles that the file takes, in pixels, or None for images of any size.
        image: a raster that parity is checked on, beside random tiles.
        int8: what to quantise with; parity is checked on tiles that were held back. None: all layers stay in fp32.

    Raises:
        ModelError: the network cannot be exported, or the labels differ.
        UsageError: a tile that the network does not take, a wrong suffix, or a package that is not installed.
        DataError: a raster does not fit the model, or too little data to calibrate on.
    """
    _check(model, target, path, tile)
    if int8 is not None and target == "torch-export":
        raise UsageError("--int8 with --to torch-export, expected onnx or openvino; leave out --int8")
    graph, held_back = None, None
    if int8 is not None:
        graph, held_back = quantize(model, tile or _network_px(model, _TILE), int8)
    files.make_folder(path.parent)
    with TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        run = _write(model, target, draft, tile, graph)
        torch_backend = TorchBackend(model, torch.device("cpu"), "fp32")  # it changes the order of weights in memory
        parities = _parities(model, torch_backend, run, tile, image, held_back)
        if not (int8 and int8.force):
            parity.require(model, parities, 1 - LEAST_EQUAL if int8 else parity.ALLOWED)
        written = sorted(Path(folder).iterdir())  # the weights, .bin, before the .xml that names them
        for each in written:
            files.commit(each, path.with_name(each.name))
    names = tuple(path.with_name(each.name) for each in reversed(written))
    return ModelExport(names, target, tile, parities, graph.facts if graph else None)


def default_tile(model: SegmentationModel, target: str) -> int | None:
    """512 px of the network for ONNX, since Deepness and its like take no others; None, any size, for the rest."""
    return _network_px(model, _TILE) if target == "onnx" else None


def _network_px(model: SegmentationModel, side: int) -> int:
    """Side (px) of images that the network takes, from pixels of the network."""
    return -(-side * downsampling_factor(model.network) // model.step) * model.step


def _parities(
    model: SegmentationModel, torch_backend: Backend, run: Runner, tile: int | None, image: Path | None,
    held_back: Sequence[ImageTile] | None,
) -> tuple[Parity, ...]:  # fmt: skip
    """Comparisons of a written file with torch: on random tiles, with int8 on those held back; and on a raster."""
    sides = [tile] if tile else [_network_px(model, side) for side in _SIDES]
    if held_back is not None:
        parities = [compare_held_back(model, torch_backend, run, held_back)]
    else:
        random = (parity.random_tiles(model, side) for side in sides)
        parities = [parity.compare(model, torch_backend, run, "random", tiles) for tiles in random]
    if image is not None:
        tiles = parity.raster_tiles(model, image, sides[0])
        parities.append(parity.compare(model, torch_backend, run, image.name, tiles))
    return tuple(parities)


def _check(model: SegmentationModel, target: str, path: Path, tile: int | None) -> None:
    if path.suffix != TARGETS[target]:
        raise UsageError(f"{path}: a file for --to {target} ends in {TARGETS[target]}; name it so")
    if isinstance(model.network, ExportedNetwork):
        raise ModelError(f"{model.path}: an export already; give the .safetensors that it was made from")
    if tile is not None and (tile < 1 or tile % model.step):
        raise UsageError(f"--tile {tile}, expected a multiple of {model.step}, the step of the network, or {ANY}")


def _write(model: SegmentationModel, target: str, path: Path, tile: int | None, int8: Int8Graph | None) -> Runner:
    """Write the file, and return what runs it."""
    if target == "torch-export":
        return _torch_program(model, path, tile)
    content = onnx_content(model, tile, int8)
    if target == "openvino":
        return _openvino(path, content)
    files.write_bytes(path, content)
    return onnx_runner(path)


def _openvino(path: Path, content: bytes) -> Runner:
    from agriseg.model_export.openvino_export import openvino_runner, write_openvino

    write_openvino(content, path)
    return openvino_runner(path)


def _torch_program(model: SegmentationModel, path: Path, tile: int | None) -> Runner:
    from agriseg.model_export.torch_export import write_program

    return write_program(model, path, tile)
