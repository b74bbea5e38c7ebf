"""Validation of a model: its maps of the held-back scenes, scored and drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agriseg.evaluation.calibrate import CalibrationSampler
from agriseg.evaluation.evaluate import count_model
from agriseg.evaluation.measure_gsd_curve import measure_gsd_curve
from agriseg.evaluation.patches import BLOCK
from agriseg.evaluation.scores import Evaluation, LearntShare, score
from agriseg.figures.charts import save_picture
from agriseg.figures.quicklook import image_quicklook
from agriseg.grid import Window
from agriseg.labels.scene import Scene
from agriseg.legend import NODATA
from agriseg.mapping.outputs import Outputs
from agriseg.model import SegmentationModel
from agriseg.options.run import RunOptions
from agriseg.training.config import Recipe
from agriseg.training.progress import ValidationScores
from agriseg.training_facts import GsdCurve

_CURVE_PIXELS = 16_000_000  # that are mapped for each point of the curve over GSD: half a minute to some minutes
_CURVE_MINUTES = 16.0  # of training, below which there are fewer
_PICTURE = 640  # longest side of the labels in the picture (px)
_OWN_COST = 1_000_000  # pixels that are mapped in the time that a map of nothing takes


@dataclass(frozen=True)
class Validator:
    """Scores models on held-back scenes, by maps as `agriseg run` makes them.

    Args:
        learnt: share of the held-back labels inside the training data.
        maps: folder for the maps.
    """

    held: Sequence[Scene]
    learnt: LearntShare
    maps: Path
    options: RunOptions

    def evaluate(self, model: SegmentationModel, sampler: CalibrationSampler | None = None) -> Evaluation:
        """Map what is labelled of all scenes and score the maps; with a calibration if there is a sampler."""
        counts = [
            count_model(
                model, scene.source.info.path, scene.labels, self.maps, replace(self.options, window=window), sampler
            )
            for scene, window in self._places
        ]
        return replace(score(counts, model.legend, sampler), learnt=self.learnt)

    def scores(self, model: SegmentationModel) -> ValidationScores:
        """As `evaluate`, without calibration and intervals."""
        evaluation = self.evaluate(model)
        return ValidationScores(evaluation.miou, evaluation.iou)

    def gsd_curve(self, model: SegmentationModel, evaluation: Evaluation, recipe: Recipe) -> GsdCurve:
        """How well the model maps the held-back scenes with larger pixels; `evaluation` is that with their own."""
        share = 1.0 if recipe.minutes is None else min(1.0, recipe.minutes / _CURVE_MINUTES)
        pixels = int(share * _CURVE_PIXELS)
        return measure_gsd_curve(model, self.held, evaluation, self.maps / "coarse", self.options, pixels)

    def draw(self, path: Path, model: SegmentationModel) -> None:
        """Draw the map and the labels of the place with the most varied labels."""
        scene, window = max(self._places, key=lambda place: _variety(place[0], place[1], len(model.legend)))
        options = replace(self.options, window=window)
        count_model(model, scene.source.info.path, scene.labels, self.maps, options)
        outputs = Outputs(self.maps, scene.source.info.path.stem, with_probabilities=False)
        layers = outputs.named("classes.tif"), outputs.named("confidence.tif")
        image = image_quicklook(scene.source, window or _whole(scene), model.bands)
        save_picture(path, image, *layers, model.legend, _thinned_labels(scene, window))

    @cached_property
    def _places(self) -> list[tuple[Scene, Window | None]]:
        """Each scene with each of its labelled windows; None for the whole scene."""
        return [(scene, window) for scene in self.held for window in labelled_windows(scene)]


def labelled_windows(scene: Scene) -> Sequence[Window | None]:
    """Windows that together contain all labels of a scene, or [None] where mapping the whole scene takes less time.

    They are apart from each other and begin at multiples of `BLOCK`, so counts of their maps add up to those of the
    whole map, also of blocks and patches.
    """
    cells = _labelled_cells(scene)
    while True:
        boxes = ndimage.find_objects(ndimage.label(cells, np.ones((3, 3)))[0])
        filled = cells.copy()
        for box in boxes:
            filled[box] = True
        if (filled == cells).all():
            break
        cells = filled
    windows = [_window(scene, rows, cols) for rows, cols in boxes]
    cost = sum(window.height * window.width + _OWN_COST for window in windows)
    return windows if windows and cost < scene.source.height * scene.source.width else [None]


def _labelled_cells(scene: Scene) -> NDArray[np.bool_]:
    """(R, C) bool: squares of `BLOCK` px with a label."""
    height, width = scene.source.height, scene.source.width
    cells = np.zeros((-(-height // BLOCK), -(-width // BLOCK)), bool)
    for strip in scene.windows():
        known = np.logical_or.reduceat(scene.labels.read(strip) != NODATA, range(0, width, BLOCK), axis=1)
        np.logical_or.at(cells, np.arange(strip.row_off, strip.row_stop) // BLOCK, known)
    return cells


def _window(scene: Scene, rows: slice, cols: slice) -> Window:
    left, top = cols.start * BLOCK, rows.start * BLOCK
    right, bottom = min(cols.stop * BLOCK, scene.source.width), min(rows.stop * BLOCK, scene.source.height)
    return Window(left, top, right - left, bottom - top)


def _whole(scene: Scene) -> Window:
    return Window(0, 0, scene.source.width, scene.source.height)


def _variety(scene: Scene, window: Window | None, classes: int) -> float:
    """Share of the labels outside the commonest class, 0 to 1."""
    counts = np.bincount(_thinned_labels(scene, window).ravel(), minlength=256)[:classes]
    return float(1 - counts.max() / counts.sum()) if counts.sum() else 0.0


def _thinned_labels(scene: Scene, window: Window | None) -> NDArray[np.uint8]:
    """Class ids of every n-th row and column, so that the longest side fits the picture."""
    place = window or _whole(scene)
    step = -(-max(place.width, place.height) // _PICTURE)
    strips = []
    for strip in scene.windows():
        top, bottom = max(strip.row_off, place.row_off), min(strip.row_stop, place.row_stop)
        if top < bottom:
            ids = scene.read(top, place.col_off, bottom - top, place.width).ids
            strips.append(ids[-(top - place.row_off) % step :: step, ::step])
    return np.concatenate(strips)
