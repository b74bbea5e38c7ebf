"""The whole raster in one forward pass of torch in fp32: the labels that all others are compared with."""

from collections.abc import Callable

import numpy as np
import torch

from agriseg import load_model
from benchmarks.peers.pixel_network import CountedNetwork, PixelNetwork
from benchmarks.peers.rasters import pixels, write_classes
from benchmarks.peers.task import Mapped, Task


def prepare(task: Task) -> Callable[[], Mapped]:
    network = CountedNetwork(PixelNetwork(load_model(task.model)))

    def run() -> Mapped:
        with torch.inference_mode():
            logits = network(torch.from_numpy(pixels(task.image))[None])[0]
            classes = logits.max(0).indices.numpy().astype(np.uint8)
        write_classes(task.classes, classes, task.image)
        return Mapped(network.pixels)

    return run
