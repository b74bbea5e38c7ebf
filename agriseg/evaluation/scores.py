"""Scores of a map, with confidence intervals, from its counts against labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agriseg.analysis.area_interval import ErrorMatrix
from agriseg.errors import DataError
from agriseg.evaluation.calibrate import Calibration, CalibrationSampler
from agriseg.evaluation.counts import EDGE, EvaluationCounts
from agriseg.evaluation.patches import BLOCK, PatchScores, score_patches
from agriseg.labels.learnt_images import LearntImages
from agriseg.legend import Legend
from agriseg.metrics import ClassScores, SurestPixels, bootstrap, calibration_error, mean_iou, quotient

Interval = list[float | None]
"""Lower and upper end; None where there is no interval."""

NEGLIGIBLE = 0.01  # share of the labels inside the training data that needs no warning: edges of held-back blocks
_DOUBT = 0.1  # share of a block that is assumed wrong where no error was seen
_COVERAGES = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)
_LEAST_BLOCKS = 2  # fewer have no spread


@dataclass(frozen=True)
class LearntShare:
    """Share of the scored labels inside the training data, 0 to 1; None where the model's file has no record of it."""

    share: float | None

    @classmethod
    def of(cls, share: float, learnt: LearntImages) -> "LearntShare":
        """The share of the recorded training data; None where it is negligible but the record is incomplete."""
        return cls(share if learnt.complete or share > NEGLIGIBLE else None)

    @property
    def doubt(self) -> str | None:
        """A warning about the scores, or None."""
        if self.share is None:
            return "it is unknown whether the model was trained on the scored labels: its file has no record of that"
        if self.share <= NEGLIGIBLE:
            return None
        return f"{self.share:.0%} of the scored labels are training data of the model: expect lower scores elsewhere"


def largest_share(shares: Sequence[LearntShare | None]) -> LearntShare:
    """The largest of several shares; unknown where one of them is unknown."""
    values = [each.share if each else 0.0 for each in shares]
    return LearntShare(None if None in values else max(filter(None, values), default=0.0))


@dataclass(frozen=True)
class ClassEvaluation:
    """Scores of one class, 0 to 1; None where a score has no denominator.

    Args:
        support: labelled pixels.
        iou_95: ends of the 95 % interval of the IoU; None from fewer than two blocks.
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
class Confusion:
    """Pixels by labelled class (rows) and mapped class (columns)."""

    classes: tuple[str, ...]
    rows_are_truth: list[list[int]]


@dataclass(frozen=True)
class Scores:
    """Scores of a map; the fields are the keys of `evaluation.json`.

    Args:
        miou: mean IoU of the classes in the truth.
        miou_95: ends of its 95 % interval.
        miou_classes, absent: number of these classes, and names of the others.
        classes: scores of each class, the rarest first.
        pixels, blocks: labelled and mapped pixels, and blocks with such a pixel.
        unsure: labelled pixels that a finished mask leaves without a class; no other score counts them.
        pixels, blocks: labelled and mapped pixels, and blocks with such a pixel; of the finer grid, where the map is
            on another than the labels.
        block_px, edge_px: side of a block, and width of the boundary band (px).
        expected_calibration_error: of the confidence layer.
        surest: accuracy of the surest pixels, for a falling coverage; empty without a confidence layer.
        learnt_share: share of the labels inside the training data of the model.
        agreement: see `ErrorMatrix.as_dict`; None from fewer than two blocks.
        patches: see `score_patches`.
    """

    miou: float | None
    miou_95: Interval
    miou_classes: int
    absent: list[str]
    doubts: list[str]
    classes: list[ClassEvaluation]
    pixels: int
    unsure: int
    blocks: int
    block_px: int
    edge_px: int
    expected_calibration_error: float | None
    surest: list[SurestPixels]
    learnt_share: float | None
    fitted: Calibration | None
    confusion: Confusion
    agreement: Mapping[str, Any] | None
    patches: list[PatchScores]


@dataclass(frozen=True)
class Evaluation:
    """A map against labels.

    Args:
        counts: of all rasters.
        calibration: fitted on these labels; None for a finished mask.
        learnt: share of the labels inside the training data; None for a finished mask.
        resampled: remark on rasters whose own pixels the network does not see; None without such.
    """

    legend: Legend
    counts: EvaluationCounts
    calibration: Calibration | None = None
    learnt: LearntShare | None = None
    resampled: str | None = None

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
        if unsure := self.counts.unsure:
            share = unsure / (unsure + int(self.matrix.sum()))
            warnings.append(
                f"{share:.1%} of the labelled pixels are unsure in the map: all scores are of the other {1 - share:.1%}"
            )
        warnings.append(self.resampled)
        return tuple(text for text in warnings if text)

    def scores(self) -> Scores:
        """All scores, with their intervals."""
        interval, mean = _intervals(self.counts.blocks)
        errors = ErrorMatrix.of(self.counts.blocks)
        return Scores(
            miou=_number(self.miou), miou_95=_ends(mean), miou_classes=len(self.legend) - len(self.absent),
            absent=list(self.absent), doubts=list(self.doubts), classes=self._classes(interval),
            pixels=int(self.matrix.sum()), unsure=self.counts.unsure, blocks=len(self.counts.blocks), block_px=BLOCK,
            edge_px=EDGE,
            expected_calibration_error=_number(calibration_error(self.counts.pixels, self.counts.hits)),
            surest=self._surest(), learnt_share=None if self.learnt is None else self.learnt.share,
            fitted=self.calibration,
            confusion=Confusion(self.legend.names, self.matrix.tolist()),
            agreement=errors.as_dict() if errors else None,
            patches=score_patches(self.counts.patches, self.legend, self.matrix.sum(1).tolist()),
        )  # fmt: skip

    def _surest(self) -> list[SurestPixels]:
        found = (SurestPixels.at(self.counts.pixels, self.counts.hits, share) for share in _COVERAGES)
        return [each for each in found if each is not None]

    def _classes(self, interval: NDArray[np.float64]) -> list[ClassEvaluation]:
        scores, boundary_iou = ClassScores.of(self.matrix), quotient(*self.counts.boundary.T)
        return [
            ClassEvaluation(
                self.legend.names[k], int(scores.support[k]), _number(scores.iou[k]), _ends(interval[:, k]),
                _number(scores.precision[k]), _number(scores.recall[k]), _number(scores.f1[k]),
                _number(boundary_iou[k]),
            )
            for k in scores.rarest_first
        ]  # fmt: skip


def score(counts: Sequence[EvaluationCounts], legend: Legend, sampler: CalibrationSampler | None = None) -> Evaluation:
    """Evaluate one or more rasters by the sum of their counts; `sampler` has logits of the same pixels.

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
    blocks_of_class = np.count_nonzero(either, axis=0)
    wrong = _DOUBT * either.sum(0) / np.maximum(blocks_of_class, 1)
    parts = np.concatenate([np.stack([hits, either], axis=2), np.stack([0 * wrong, wrong], axis=1)[None]])
    each = bootstrap(parts, lambda sums: quotient(*sums.T))
    each[:, blocks_of_class < _LEAST_BLOCKS] = np.nan
    mean = bootstrap(parts, lambda sums: np.array(np.nanmean(quotient(*sums.T))))
    return each, mean if len(blocks) >= _LEAST_BLOCKS else np.full(2, np.nan)


def _number(value: float | np.floating[Any]) -> float | None:
    return None if np.isnan(value) else float(value)


def _ends(interval: NDArray[np.float64]) -> Interval:
    return [_number(end) for end in interval]
