"""The network as each engine takes it: an agriseg model file, TorchScript and ONNX.

python -m benchmarks.peers.network_files MODEL FOLDER TILE
"""

import sys
import warnings
from pathlib import Path

import torch

from agriseg import SegmentationModel, load_model
from agriseg.bundled_models import BUNDLED
from agriseg.demo.reference_models import random_network
from agriseg.model_export.export import export_model
from agriseg.networks import architecture
from benchmarks.peers.pixel_network import PixelNetwork


def model_file(named: str, folder: Path) -> Path:
    """The file of a model: a file, a bundled model, or an architecture with the random weights of a seed."""
    if named not in BUNDLED and Path(named).is_file():
        return Path(named).resolve()
    model = load_model(named) if named in BUNDLED else random_network(named)
    path = folder / "model.safetensors"
    model.save(path)
    return path


def operations_per_pixel(model: SegmentationModel) -> float:
    """Operations of the network's convolutions per input pixel.

    Raises:
        ValueError: the model has no named architecture.
    """
    if model.architecture is None:
        raise ValueError(f"{model.name}: its architecture has no name, so its operations are not known")
    return 2 * architecture(model.architecture).multiply_adds


def export(model: Path, folder: Path, tile: int) -> None:
    """Write `network.pt`, stored numbers to logits, and `network.onnx`, normalised tiles to probabilities."""
    loaded = load_model(model)
    network = PixelNetwork(loaded)
    example = torch.zeros(1, len(loaded.bands), tile, tile, dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; geo-inference takes nothing else
        torch.jit.trace(network, example, check_trace=False).save(str(folder / "network.pt"))
    export_model(loaded, "onnx", folder / "network.onnx", tile)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
