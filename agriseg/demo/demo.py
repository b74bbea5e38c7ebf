"""The demonstration: a field with known truth is mapped with the bundled model and compared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from agriseg import files
from agriseg.analysis.build import make_layers
from agriseg.demo.synthetic import AFFECTED, grow_field, write_field
from agriseg.figures.charts import save_picture
from agriseg.figures.quicklook import image_quicklook
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import prepare
from agriseg.mapping.run import Progress, RunReport, run
from agriseg.maps.pixel_counts import Area
from agriseg.metrics import ClassChanges, confusion, iou
from agriseg.model import SegmentationModel
from agriseg.options.layers import LayerOptions
from agriseg.options.run import RunOptions
from agriseg.reports.report import write_report


@dataclass(frozen=True)
class Demo:
    """How the map of the demonstration compares with the truth.

    Args:
        true_hectares: per class.
        iou: per class, 0 to 1.
        true_seams: seam ratio of the truth, which has rows of crop, but no seams.
        page: the report, with the layers of the affected classes.
    """

    report: RunReport
    true_hectares: tuple[float, ...]
    iou: tuple[float, ...]
    true_seams: float | None
    picture: Path
    page: Path


def run_demo(
    folder: Path, model: SegmentationModel, *, height: int, width: int, seed: int, progress: Progress | None = None
) -> Demo:
    """Make a field of `height` x `width` pixels of 5 cm, map it and compare.

    The folder gets the field, its truth, the maps and the picture; those of an earlier run are replaced.
    """
    files.make_folder(folder)
    image, _ = write_field(folder, field := grow_field(height, width, seed))
    options = RunOptions(tile=512)
    prepared = prepare(image, model, options)
    report = run(prepared, Outputs(folder, image.stem, with_probabilities=False, overwrite=True), progress)
    with rasterio.open(report.classes) as dataset:
        mask = dataset.read(1)
    per_row = [np.count_nonzero(field.truth == k, axis=1) for k in range(len(model.legend))]
    hectares = Area.of_rows(prepared.georeference, width, 0, np.stack(per_row, axis=1)).hectares
    truth = np.full(len(model.legend), np.nan) if hectares is None else hectares
    changes, grid = ClassChanges(width), prepared.plan.grid
    changes.add(field.truth)
    true_seams = changes.ratio(grid.cols.seams, grid.rows.seams)
    make_layers(report.record, LayerOptions(affected=dict.fromkeys(AFFECTED, 100.0)), overwrite=True)
    picture = folder / "demo.png"
    shown = image_quicklook(prepared.model_input.source, prepared.plan.roi, model.bands)
    save_picture(picture, shown, report.classes, report.confidence, model.legend)
    scores = iou(confusion(field.truth, mask, len(model.legend)))
    return Demo(report, tuple(truth.tolist()), tuple(scores.tolist()), true_seams, picture, write_report(report.record))
