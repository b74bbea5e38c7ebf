"""agriseg: `segment`, from the file to the published and verified map."""

import shutil
from collections.abc import Callable
from pathlib import Path

from agriseg import load_model, segment
from agriseg.grid import TileGrid, Tiling
from agriseg.maps.record import RunRecord
from benchmarks.peers.task import Mapped, Task


def prepare(task: Task) -> Callable[[], Mapped]:
    """Settings are flags of `agriseg run`."""
    model, folder = load_model(task.model), Path(task.classes).with_suffix("")

    def run() -> Mapped:
        report = segment(task.image, model, folder, gsd="native", device="cpu", overwrite=True, **task.settings)
        shutil.copy(report.classes, task.classes)
        record = RunRecord.read(report.record)
        width, height = record.parameters.working_size
        tile, overlap, margin = (getattr(record.parameters, f"{name}_px") for name in ("tile", "overlap", "margin"))
        grid = TileGrid.over(height, width, Tiling(tile, overlap, margin, model.stride, model.step))
        probe = 0 if record.tiling is None else record.tiling.probe_work * width * height
        network = record.tiles_run * grid.cols.length * grid.rows.length + probe
        precision = record.parameters.precision.split()[0]
        return Mapped(round(network), tuple(grid.cols.seams), tuple(grid.rows.seams), precision)

    return run
