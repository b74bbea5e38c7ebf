"""habitat-mapper: file to file, half overlap with Bartlett-Hann weights, an ONNX network in ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from habitat_mapper.config import ModelConfig
from habitat_mapper.model import ONNXModel

from agriseg import load_model
from benchmarks.peers.task import Mapped, Task
from benchmarks.peers.tile_lines import middles


class _Counted(ONNXModel):
    """It counts the pixels that its network is given."""

    pixels = 0

    def _predict(self, batch: np.ndarray) -> np.ndarray:
        self.pixels += batch.shape[0] * batch.shape[2] * batch.shape[3]
        return super()._predict(batch)


def prepare(task: Task) -> Callable[[], Mapped]:
    """Without settings: it overlaps by half."""
    model, tile = load_model(task.model), task.tile
    file = Path(task.exports) / "network.onnx"
    config = ModelConfig(
        name="bench", revision="20260101", dependencies=[str(file)], model_filename=file.name, mean=model.mean,
        std=model.std, max_pixel_value=1 / model.scale, nodata_value=255,
    )  # fmt: skip
    engine = _Counted(config)
    if engine.input_size != tile:  # this loads the network
        raise ValueError(f"{file} takes tiles of {engine.input_size} px, expected {tile}")

    def run() -> Mapped:
        # its median filter would change labels on top of the tiling
        engine.process(task.image, task.classes, crop_size=tile, blur_kernel_size=0, quiet=True)
        with rasterio.open(task.classes) as dataset:
            width, height = dataset.width, dataset.height
        cols, rows = (middles(range(0, size - tile // 2, tile // 2), tile) for size in (width, height))
        return Mapped(engine.pixels, cols, rows)

    return run
