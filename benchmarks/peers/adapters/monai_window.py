"""MONAI: `sliding_window_inference` over the whole raster in memory."""

from collections.abc import Callable

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from agriseg import load_model
from benchmarks.peers.pixel_network import CountedNetwork, PixelNetwork
from benchmarks.peers.rasters import pixels, write_classes
from benchmarks.peers.task import Mapped, Task
from benchmarks.peers.tile_lines import clamped_starts, ends, middles


def prepare(task: Task) -> Callable[[], Mapped]:
    """Settings: `overlap`, a share of the tile; `mode`, constant or gaussian weights."""
    network, tile = CountedNetwork(PixelNetwork(load_model(task.model))), task.tile
    overlap, mode = float(task.settings["overlap"]), str(task.settings["mode"])
    lines = ends if mode == "constant" else middles

    def run() -> Mapped:
        image = torch.from_numpy(pixels(task.image)).to(torch.float32)[None]
        with torch.inference_mode():
            logits = sliding_window_inference(image, (tile, tile), 1, network, overlap=overlap, mode=mode)
            classes = logits[0].argmax(0).numpy().astype(np.uint8)
        write_classes(task.classes, classes, task.image)
        step = round(tile * (1 - overlap))
        cols, rows = (lines(clamped_starts(size, tile, step), tile) for size in (image.shape[3], image.shape[2]))
        return Mapped(network.pixels, cols, rows)

    return run
