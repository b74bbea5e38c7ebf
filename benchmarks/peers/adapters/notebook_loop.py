"""A loop as in a notebook: tiles side by side, no overlap, each class written where its tile lies."""

from collections.abc import Callable

import numpy as np
import torch

from agriseg import load_model
from benchmarks.peers.pixel_network import CountedNetwork, PixelNetwork
from benchmarks.peers.rasters import pixels, write_classes
from benchmarks.peers.task import Mapped, Task


def prepare(task: Task) -> Callable[[], Mapped]:
    network, tile = CountedNetwork(PixelNetwork(load_model(task.model))), task.tile

    def run() -> Mapped:
        image = torch.from_numpy(pixels(task.image))
        height, width = image.shape[1:]
        classes = np.zeros((height, width), np.uint8)
        with torch.inference_mode():
            for top in range(0, height, tile):
                for left in range(0, width, tile):
                    part = image[:, top : top + tile, left : left + tile]
                    classes[top : top + tile, left : left + tile] = network(part[None])[0].argmax(0).numpy()
        write_classes(task.classes, classes, task.image)
        return Mapped(network.pixels, tuple(range(tile, width, tile)), tuple(range(tile, height, tile)))

    return run
