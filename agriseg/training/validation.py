"""Validation of a model: its maps of the held-back scenes, scored and drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agriseg.evaluation.calibrate import CalibrationSampler
from agriseg.evaluation.evaluate import count_model
from agriseg.evaluation.scores import Evaluation, LearntShare, score
from agriseg.figures.charts import save_picture
from agriseg.labels.scene import Scene
from agriseg.mapping.outputs import Outputs
from agriseg.model import SegmentationModel
from agriseg.options.run import RunOptions
from agriseg.training.progress import ValidationScores

_PICTURE = 640  # longest side of the labels in the picture (px)


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
        """Map all scenes and score the maps; with a calibration if there is a sampler."""
        pairs = [(scene.source.info.path, scene.labels) for scene in self.held]
        counts = [count_model(model, *pair, self.maps, self.options, sampler) for pair in pairs]
        return replace(score(counts, model.legend, sampler), learnt=self.learnt)

    def scores(self, model: SegmentationModel) -> ValidationScores:
        """As `evaluate`, without calibration and intervals."""
        evaluation = self.evaluate(model)
        return ValidationScores(evaluation.miou, evaluation.iou)

    def draw(self, path: Path, model: SegmentationModel) -> None:
        """Draw the map and the labels of the scene with the most varied labels."""
        scene = max(self.held, key=lambda scene: _variety(scene, len(model.legend)))
        count_model(model, scene.source.info.path, scene.labels, self.maps, self.options)
        outputs = Outputs(self.maps, scene.source.info.path.stem, with_probabilities=False)
        layers = outputs.named("classes.tif"), outputs.named("confidence.tif")
        save_picture(path, scene.source, *layers, model.legend, _thinned_labels(scene))


def _variety(scene: Scene, classes: int) -> float:
    """Share of the labels outside the commonest class, 0 to 1."""
    counts = np.bincount(_thinned_labels(scene).ravel(), minlength=256)[:classes]
    return float(1 - counts.max() / counts.sum()) if counts.sum() else 0.0


def _thinned_labels(scene: Scene) -> NDArray[np.uint8]:
    """Class ids of every n-th row and column, so that the longest side fits the picture."""
    step = -(-max(scene.source.width, scene.source.height) // _PICTURE)
    strips = []
    for window in scene.windows():
        ids = scene.read(window.row_off, window.col_off, window.height, window.width).ids
        strips.append(ids[-window.row_off % step :: step, ::step])
    return np.concatenate(strips)
