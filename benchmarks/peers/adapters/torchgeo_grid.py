"""TorchGeo: `GridGeoSampler` over a `RasterDataset`, and a loop that takes the mean of the logits.

The library has no stitching of its own.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import GridGeoSampler

from agriseg import load_model
from benchmarks.peers.pixel_network import CountedNetwork, PixelNetwork
from benchmarks.peers.rasters import write_classes
from benchmarks.peers.task import Mapped, Task
from benchmarks.peers.tile_lines import ends


def prepare(task: Task) -> Callable[[], Mapped]:
    """Settings: `overlap`, a share of the tile."""
    model, tile = load_model(task.model), task.tile
    network = CountedNetwork(PixelNetwork(model))
    step = round(tile * (1 - float(task.settings["overlap"])))

    def run() -> Mapped:
        dataset = RasterDataset(task.image)
        extent, resolution = dataset.bounds, dataset.res
        width, height = (round((axis.stop - axis.start) / resolution[k]) for k, axis in enumerate(extent[:2]))
        logits, visits = torch.zeros(len(model.legend.names), height, width), torch.zeros(height, width)
        lefts, tops = set(), set()
        chips = DataLoader(dataset, sampler=GridGeoSampler(dataset, tile, step), collate_fn=stack_samples)
        with torch.inference_mode():
            for chip in chips:
                across, up, _ = chip["bounds"][0]
                left = round((across.start - extent[0].start) / resolution[0])
                top = round((extent[1].stop - up.stop) / resolution[1])
                part = network(chip["image"])[0, :, max(0, -top) :, : width - left]  # the grid begins at the lower left
                inside = slice(max(0, top), top + tile), slice(left, left + tile)
                logits[:, inside[0], inside[1]] += part
                visits[inside] += 1
                lefts.add(left)
                tops.add(top)
            classes = (logits / visits).argmax(0).numpy().astype(np.uint8)
        write_classes(task.classes, classes, task.image)
        cols, rows = ([line for line in ends(sorted(all_), tile) if line > 0] for all_ in (lefts, tops))
        return Mapped(network.pixels, tuple(cols), tuple(rows))

    return run
