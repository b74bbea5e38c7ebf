"""Scores of a map, with confidence intervals, from its counts against labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agriseg.analysis.area_interval import ErrorMatrix
from agriseg.errors import DataError
from agriseg.evaluation.calibrate import Calibration, CalibrationSampler
from agriseg.evaluation.counts import BLOCK, EDGE, EvaluationCounts
from agriseg.labels.learnt_images import LearntImages
from agriseg.legend import Legend
from agriseg.metrics import ClassScores, bootstrap, calibration_error, mean_iou

Interval = list[float | None]
"""Lower and upper end; None where there is no interval."""

LITTLE = 0.01  # of the labels, up to which nothing is said: edges of what was held back
_DOUBT = 0.1  # share of a block that is assumed wrong where no error was seen
_LEAST_BLOCKS = 2  # fewer have no spread


@dataclass(frozen=True)
class LearntShare:
    """How much of the labels that score a model lies on ground that it has learnt.

    Args:
        share: 0 to 1; None where the model's file does not tell its ground.
    """

    share: float | None

    @classmethod
    def of(cls, share: float, learnt: LearntImages) -> "LearntShare":
        """Of what is known; a little is unknown where the model's file does not tell all of its ground."""
        return cls(share if learnt.complete or share > LITTLE else None)

    @property
    def doubt(self) -> str | None:
        """What a reader should know before trusting a model's scores."""
        if self.share is None:
            return "whether the model has learnt the ground that scores it is unknown: its file does not tell"
        if self.share <= LITTLE:
            return None
        return f"{self.share:.0%} of the labels that score it lie on ground that it has learnt: elsewhere expect less"


def most_learnt(shares: Sequence[LearntShare | None]) -> LearntShare:
    """The largest of several; unknown where one of them is."""
    known = [each.share for each in shares if each is not None]
    return LearntShare(None if None in known else max([share for share in known if share is not None], default=0.0))


@dataclass(frozen=True)
class ClassEvaluation:
    """Scores of one class, 0 to 1; None where a score has no denominator.

    Args:
        name: of the class.
        support: labelled pixels of it.
        iou: intersection over union.
        iou_95: ends of its 95 % interval; None from fewer than two blocks.
        precision, recall, f1: of its pixels.
        boundary_iou: IoU of the boundary bands.
    """

    name: str
    support: int
    iou: float | None
    iou_95: Interval
    precision: float | None
    recall: float | None
    f1: float | None
    boundary_iou: float | None


@dataclass(frozen=True)
class Scores:
    """Scores of a map; the fields are keys of `evaluation.json`.

    Args:
        miou: mean IoU of the classes in the truth.
        miou_95: ends of its 95 % interval.
        miou_classes: number of these classes.
        absent: names of the other classes.
        doubts: warnings about the scores.
        classes: scores of each class, the rarest first.
        pixels, blocks: labelled and mapped pixels, and blocks with such a pixel.
        block_px, edge_px: side of a block, and width of the boundary band (px).
        expected_calibration_error: of the confidence layer.
        learnt_share: share of the labels on ground that the model has learnt.
        fitted: calibration on these labels.
    """

    miou: float | None
    miou_95: Interval
    miou_classes: int
    absent: list[str]
    doubts: list[str]
    classes: list[ClassEvaluation]
    pixels: int
    blocks: int
    block_px: int
    edge_px: int
    expected_calibration_error: float | None
    learnt_share: float | None
    fitted: Calibration | None


@dataclass(frozen=True)
class Evaluation:
    """A map against labels.

    Args:
        legend: the classes.
        counts: of all rasters.
        calibration: fitted on these labels; None for a finished mask.
        learnt: share of the labels that the model has learnt; None for a finished mask.
    """

    legend: Legend
    counts: EvaluationCounts
    calibration: Calibration | None = None
    learnt: LearntShare | None = None

    @property
    def matrix(self) -> NDArray[np.int64]:
        """(K, K) confusion matrix, rows are the truth."""
        return np.asarray(self.counts.blocks.sum(0), np.int64)

    @property
    def miou(self) -> float:
        """Mean IoU of the classes in the truth."""
        return mean_iou(self.matrix)

    @property
    def iou(self) -> dict[str, float | None]:
        """IoU by class name, the rarest class first; None for a class neither in the truth nor in the map."""
        scores = ClassScores.of(self.matrix)
        return {self.legend.names[k]: _number(scores.iou[k]) for k in scores.rarest_first}

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes that are not in the truth and have no score."""
        return tuple(self.legend.names[k] for k in np.flatnonzero(self.matrix.sum(1) == 0))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Warnings about the scores."""
        warnings = [each.doubt for each in (self.learnt, self.calibration) if each is not None]
        if self.absent:
            mean = f"the mean of {len(self.legend) - len(self.absent)} of {len(self.legend)} classes"
            warnings.append(f"{', '.join(self.absent)}: in no label that was scored, so the mIoU is {mean}")
        return tuple(text for text in warnings if text)

    def scores(self) -> Scores:
        """All scores, with their intervals."""
        interval, mean = _intervals(self.counts.blocks)
        return Scores(
            miou=_number(self.miou), miou_95=_ends(mean), miou_classes=len(self.legend) - len(self.absent),
            absent=list(self.absent), doubts=list(self.doubts), classes=self._classes(interval),
            pixels=int(self.matrix.sum()), blocks=len(self.counts.blocks), block_px=BLOCK, edge_px=EDGE,
            expected_calibration_error=_number(calibration_error(self.counts.pixels, self.counts.hits)),
            learnt_share=None if self.learnt is None else self.learnt.share, fitted=self.calibration,
        )  # fmt: skip

    def _classes(self, interval: NDArray[np.float64]) -> list[ClassEvaluation]:
        """The classes, the rarest first; `interval` is (2, K)."""
        found, (both, either) = ClassScores.of(self.matrix), self.counts.boundary.T
        return [
            ClassEvaluation(
                self.legend.names[k], int(found.support[k]), _number(found.iou[k]), _ends(interval[:, k]),
                _number(found.precision[k]), _number(found.recall[k]), _number(found.f1[k]),
                _number(both[k] / either[k] if either[k] else np.nan),
            )
            for k in found.rarest_first
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Scores, confusion matrix and error matrix as JSON values."""
        errors = ErrorMatrix.of(self.counts.blocks)
        return asdict(self.scores()) | {
            "confusion": {"classes": list(self.legend.names), "rows_are_truth": self.matrix.tolist()},
            "agreement": None if errors is None else errors.as_dict(),
        }


def score(counts: Sequence[EvaluationCounts], legend: Legend, sampler: CalibrationSampler | None = None) -> Evaluation:
    """Evaluate one or more rasters by the sum of their counts.

    Args:
        counts: of each raster.
        legend: the classes.
        sampler: with logits of the same pixels; gives the calibration.

    Raises:
        DataError: no pixel is both labelled and mapped.
    """
    total = reduce(add, counts)
    if not total.blocks.sum():
        raise DataError("no pixel is both labelled and mapped; nothing can be said about the map")
    return Evaluation(legend, total, sampler.calibration() if sampler else None)


def _intervals(blocks: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % intervals of the IoU of each class, (2, K), and of their mean, (2,), by a bootstrap over blocks.

    One more block is added, with a tenth of the mean pixels of each class, all wrong: a handful of blocks without an
    error does not prove that there is none. NaN for a class in a single block, and for the mean of a single block.
    """
    hits = np.diagonal(blocks, axis1=1, axis2=2)
    either = blocks.sum(1) + blocks.sum(2) - hits
    showing = np.count_nonzero(either, axis=0)
    doubt = _DOUBT * either.sum(0) / np.maximum(showing, 1)
    parts = np.concatenate([np.stack([hits, either], axis=2), np.stack([0 * doubt, doubt], axis=1)[None]])
    each = np.array(bootstrap(parts, _share))
    each[:, showing < _LEAST_BLOCKS] = np.nan
    mean = np.array(bootstrap(parts, lambda sums: np.array(np.nanmean(_share(sums)))))
    return each, mean if len(blocks) >= _LEAST_BLOCKS else np.full(2, np.nan)


def _share(sums: NDArray[Any]) -> NDArray[np.float64]:
    """IoU of each class from (K, 2) pixels in both and in either; NaN for a class that is in neither."""
    return np.asarray(np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0))


def _number(value: float | np.floating[Any]) -> float | None:
    """NaN becomes None."""
    return None if np.isnan(value) else float(value)


def _ends(interval: NDArray[np.float64]) -> Interval:
    return [_number(end) for end in interval]
