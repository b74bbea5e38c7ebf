"""Measures how well a model maps coarser rasters: held-back images, averaged to larger pixels, against their labels.

The maps are made as `agriseg run` makes them: at the GSD of a model that knows it, else at that of the coarse raster.
They are compared with the labels as drawn, on the fine pixels. Of many labels a random part is scored.
"""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agriseg import files
from agriseg.evaluation.coarse_images import write_coarse_image
from agriseg.evaluation.common_grid import Size
from agriseg.evaluation.counts import EvaluationCounts
from agriseg.evaluation.evaluate import count_model
from agriseg.evaluation.scores import Evaluation, score
from agriseg.grid import Window, intersection
from agriseg.labels.raster import LabelRaster
from agriseg.labels.scene import Scene
from agriseg.legend import NODATA
from agriseg.model import SegmentationModel
from agriseg.options.run import RunOptions
from agriseg.training_facts import FACTORS, GsdCurve, GsdPoint

_CELL = 1024  # side of the parts of an image (px)
_CONTEXT = 256  # pixels of the coarse image around a part, for the network to see
_SEED = 0


@dataclass(frozen=True)
class Cell:
    """A part of a scene, with the number of its labelled pixels; never zero."""

    scene: Scene
    window: Window
    labelled: int

    @property
    def pixels(self) -> int:
        """All pixels, labelled or not."""
        return self.window.width * self.window.height

    @property
    def labels(self) -> LabelRaster:
        """The labels of the scene without those outside the cell."""
        labels = self.scene.labels

        def keep(window: Window) -> NDArray[np.bool_]:
            inside = np.zeros((window.height, window.width), bool)
            if shared := intersection(window, self.window):
                inside[shared.within(window)] = True
            return inside if labels.keep is None else inside & labels.keep(window)

        return replace(labels, keep=keep)

    def on(self, size: Size, context: int = 0) -> Window:
        """The pixels of a grid of another size that the cell touches, and `context` pixels around them."""
        across, down = size[0] / self.scene.source.width, size[1] / self.scene.source.height
        left = max(0, math.floor(self.window.col_off * across) - context)
        top = max(0, math.floor(self.window.row_off * down) - context)
        right = min(size[0], math.ceil(self.window.col_stop * across) + context)
        bottom = min(size[1], math.ceil(self.window.row_stop * down) + context)
        return Window(left, top, right - left, bottom - top)


def measure_gsd_curve(
    model: SegmentationModel, held: Sequence[Scene], evaluation: Evaluation, folder: Path, options: RunOptions,
    most_pixels: int,
) -> GsdCurve:  # fmt: skip
    """The curve of a model over GSD, on held-back scenes of whose ground at most `most_pixels` are mapped each time.

    A curve ends before the first factor at which no labelled pixel has data.

    Args:
        evaluation: of the model on all held-back labels; it is the first point where all are scored.
        folder: for images and maps, which are removed.
        options: how the images are read.
    """
    cells = [cell for scene in held for cell in _cells(scene)]
    chosen = _chosen(cells, most_pixels)
    files.make_folder(folder)
    try:
        if len(chosen) < len(cells):
            counts = [count_model(model, *_own(cell), folder, _at(options, cell.window)) for cell in chosen]
            evaluation = score(counts, model.legend)
        points = [GsdPoint(FACTORS[0], evaluation.miou, evaluation.iou)]
        for factor in FACTORS[1:]:
            counts = _coarse_counts(model, chosen, factor, folder, options)
            if not any(each.blocks.any() for each in counts):
                break
            coarse = score(counts, model.legend)
            points.append(GsdPoint(factor, coarse.miou, coarse.iou))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    share = sum(cell.labelled for cell in chosen) / sum(cell.labelled for cell in cells)
    return GsdCurve(model.gsd is not None, share, tuple(points))


def _cells(scene: Scene) -> Iterator[Cell]:
    """The parts of a scene that have labels on pixels with data."""
    for top in range(0, scene.source.height, _CELL):
        for left in range(0, scene.source.width, _CELL):
            width, height = min(_CELL, scene.source.width - left), min(_CELL, scene.source.height - top)
            labelled = int(np.count_nonzero(scene.read(top, left, height, width).ids != NODATA))
            if labelled:
                yield Cell(scene, Window(left, top, width, height), labelled)


def _chosen(cells: Sequence[Cell], most_pixels: int) -> list[Cell]:
    """All cells, or a random part of them of at most so many pixels, at least one; in their order."""
    drawn: list[int] = []
    pixels = 0
    for number in np.random.default_rng(_SEED).permutation(len(cells)).tolist():
        pixels += cells[number].pixels
        if drawn and pixels > most_pixels:
            break
        drawn.append(number)
    return [cells[number] for number in sorted(drawn)]


def _own(cell: Cell) -> tuple[Path, LabelRaster]:
    return cell.scene.source.info.path, cell.labels


def _at(options: RunOptions, window: Window) -> RunOptions:
    return replace(options, window=window)


def _coarse_counts(
    model: SegmentationModel, cells: Sequence[Cell], factor: float, folder: Path, options: RunOptions
) -> list[EvaluationCounts]:
    """Counts of the maps of cells whose pixels are averaged to `factor` times the GSD of the model."""
    bands = tuple(range(1, len(model.bands) + 1))
    reading = RunOptions(gsd="native" if model.gsd is None else "auto", bands=bands, device=options.device)
    image, counts = folder / "coarse.tif", []
    for scene in dict.fromkeys(cell.scene for cell in cells):
        size = _coarse_size(scene, model, factor)
        own = [cell for cell in cells if cell.scene is scene]
        whole = [Window(0, 0, *size)]  # decides the mean colour of the raster
        parts = whole if model.normalize_by == "raster" else [cell.on(size, _CONTEXT) for cell in own]
        write_coarse_image(image, scene.source, size, parts)
        counts += [count_model(model, image, cell.labels, folder, _at(reading, cell.on(size))) for cell in own]
    return counts


def _coarse_size(scene: Scene, model: SegmentationModel, factor: float) -> Size:
    """Width and height of a scene with pixels of `factor` times the GSD of the model, or its own where it has none."""
    info = scene.source.info
    across, down = (1.0, 1.0) if model.gsd is None or info.gsd is None else [model.gsd / own for own in info.gsd]
    return max(1, round(info.width / (factor * across))), max(1, round(info.height / (factor * down)))
