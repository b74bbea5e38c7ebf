"""geo-inference: file to file, half overlap with Hann weights, a TorchScript network."""

from collections.abc import Callable
from pathlib import Path

import rasterio
from geo_inference.geo_inference import GeoInference

from agriseg import load_model
from benchmarks.peers.pixel_network import CountedNetwork
from benchmarks.peers.task import Mapped, Task
from benchmarks.peers.tile_lines import middles


def prepare(task: Task) -> Callable[[], Mapped]:
    """Without settings: it overlaps by half. One worker, since each would take all threads of torch."""
    classes, tile, target = len(load_model(task.model).legend.names), task.tile, Path(task.classes)
    script = str(Path(task.exports) / "network.pt")
    engine = GeoInference(model=script, work_dir=str(target.parent), device="cpu", num_classes=classes)
    engine.model = network = CountedNetwork(engine.model)

    def run() -> Mapped:
        name = engine(task.image, patch_size=tile, workers=1)
        (target.parent / name).rename(target)
        with rasterio.open(target) as dataset:
            width, height = dataset.width, dataset.height
        cols, rows = (middles(range(0, size - tile // 2, tile // 2), tile) for size in (width, height))
        return Mapped(network.pixels, cols, rows)

    return run
