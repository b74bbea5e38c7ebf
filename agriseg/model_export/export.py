"""Writes a model for another runtime, once its labels are compared with those of torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from agriseg import files
from agriseg.backends.torch_backend import TorchBackend
from agriseg.errors import ModelError, UsageError
from agriseg.model import SegmentationModel
from agriseg.model_export import parity
from agriseg.model_export.parity import Parity, Runner
from agriseg.networks.exported import ExportedNetwork
from agriseg.networks.network_input import downsampling_factor

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
    """

    files: tuple[Path, ...]
    target: str
    tile: int | None
    parities: tuple[Parity, ...]


def export_model(
    model: SegmentationModel, target: str, path: Path, tile: int | None, image: Path | None = None
) -> ModelExport:
    """Write a model as a file of `TARGETS`, and for openvino an .bin beside it; existing ones are replaced.

    Args:
        tile: side of square tiles that the file takes, in pixels, or None for images of any size.
        image: a raster that parity is checked on, beside random tiles.

    Raises:
        ModelError: the network cannot be exported, or the labels differ.
        UsageError: a tile that the network does not take, a wrong suffix, or a package that is not installed.
        DataError: the raster does not fit the model.
    """
    _check(model, target, path, tile)
    factor = downsampling_factor(model.network)
    sides = (tile,) if tile else tuple(-(-side * factor // model.step) * model.step for side in _SIDES)
    files.make_folder(path.parent)
    with TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        run = _write(model, target, draft, tile)
        torch_backend = TorchBackend(model, torch.device("cpu"), "fp32")
        tiles = [("random", parity.random_tiles(model, side)) for side in sides]
        if image is not None:
            tiles.append((image.name, parity.raster_tiles(model, image, sides[0])))
        parities = tuple(parity.compare(model, torch_backend, run, name, images) for name, images in tiles)
        parity.require(model, parities)
        written = sorted(Path(folder).iterdir())  # the weights, .bin, before the .xml that names them
        for each in written:
            files.commit(each, path.with_name(each.name))
    return ModelExport(tuple(path.with_name(each.name) for each in reversed(written)), target, tile, parities)


def default_tile(model: SegmentationModel, target: str) -> int | None:
    """512 px of the network for ONNX, since Deepness and its like take no others; None, any size, for the rest."""
    if target != "onnx":
        return None
    return -(-_TILE * downsampling_factor(model.network) // model.step) * model.step


def _check(model: SegmentationModel, target: str, path: Path, tile: int | None) -> None:
    if path.suffix != TARGETS[target]:
        raise UsageError(f"{path}: a file for --to {target} ends in {TARGETS[target]}; name it so")
    if isinstance(model.network, ExportedNetwork):
        raise ModelError(f"{model.path}: an export already; give the .safetensors that it was made from")
    if tile is not None and (tile < 1 or tile % model.step):
        raise UsageError(f"--tile {tile}, expected a multiple of {model.step}, the step of the network, or {ANY}")


def _write(model: SegmentationModel, target: str, path: Path, tile: int | None) -> Runner:
    """Write the file, and return what runs it."""
    writers: Mapping[str, Callable[[SegmentationModel, Path, int | None], Runner]] = {
        "onnx": _onnx, "openvino": _openvino, "torch-export": _torch_program,
    }  # fmt: skip
    return writers[target](model, path, tile)


def _onnx(model: SegmentationModel, path: Path, tile: int | None) -> Runner:
    from agriseg.model_export.onnx_export import onnx_content, onnx_runner

    files.write_bytes(path, onnx_content(model, tile))
    return onnx_runner(path)


def _openvino(model: SegmentationModel, path: Path, tile: int | None) -> Runner:
    from agriseg.model_export.openvino_export import openvino_runner, write_openvino

    write_openvino(model, path, tile)
    return openvino_runner(path)


def _torch_program(model: SegmentationModel, path: Path, tile: int | None) -> Runner:
    from agriseg.model_export.torch_export import write_program

    return write_program(model, path, tile)
