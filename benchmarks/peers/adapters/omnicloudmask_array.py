"""OmniCloudMask: `predict_from_array` with a network of one's own."""

from collections.abc import Callable

import omnicloudmask
import omnicloudmask.raster_utils

from agriseg import load_model
from benchmarks.peers.pixel_network import CountedNetwork, PixelNetwork
from benchmarks.peers.rasters import pixels, write_classes
from benchmarks.peers.task import Mapped, Task
from benchmarks.peers.tile_lines import clamped_starts, middles

_NO_VALUE = -1  # 8-bit colours have none: a zero is a shadow


def prepare(task: Task) -> Callable[[], Mapped]:
    """Settings: `overlap`, a share of the tile."""
    model, tile = load_model(task.model), task.tile
    network = CountedNetwork(PixelNetwork(model))
    overlap = round(float(task.settings["overlap"]) * tile)
    # it normalises each patch by itself; this network has its own constants
    omnicloudmask.raster_utils.channel_norm = lambda patch, _nodata=0: patch

    def run() -> Mapped:
        image = pixels(task.image)
        classes = omnicloudmask.predict_from_array(
            image, patch_size=tile, patch_overlap=overlap, inference_device="cpu", custom_models=network,
            pred_classes=len(model.legend.names), no_data_value=_NO_VALUE, apply_no_data_mask=False,
        )[0]  # fmt: skip
        write_classes(task.classes, classes, task.image)
        height, width = classes.shape
        cols, rows = (middles(clamped_starts(size, tile, tile - overlap), tile) for size in (width, height))
        return Mapped(network.pixels, cols, rows)

    return run
