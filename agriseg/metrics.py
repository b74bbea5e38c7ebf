"""Scores of a mask: IoU, precision, recall, calibration, bootstrap intervals, visibility of tile seams."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agriseg.legend import NODATA

_HOTTEST = 20  # highest temperature; the lowest is its inverse
_BINS = 15  # of confidence, of equal width


def confusion(truth: NDArray[np.uint8], mask: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Pixels by true and mapped class, (K, K) int64: rows are the truth; one with 255 in either is not counted.

    Raises:
        ValueError: a class id beyond K that is not 255.
    """
    both = (truth != NODATA) & (mask != NODATA)
    highest = max(truth[both].max(initial=0), mask[both].max(initial=0))
    if highest >= classes:
        raise ValueError(f"class {highest}, expected 0 to {classes - 1}, or 255 for nodata")
    pairs = truth[both].astype(np.int64) * classes + mask[both]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def iou(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K,) intersection over union from `confusion`'s (K, K); NaN for a class neither in the truth nor in the mask."""
    hits = np.diag(matrix)
    return quotient(hits, matrix.sum(0) + matrix.sum(1) - hits)


def mean_iou(matrix: NDArray[np.int64]) -> float:
    """Mean IoU of the classes that are in the truth, from `confusion`'s (K, K); NaN without one.

    A class that is only in the mask lowers the IoU of those whose pixels it takes.
    """
    there = matrix.sum(1) > 0
    return float(iou(matrix)[there].mean()) if there.any() else float("nan")


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class; NaN where a ratio has no denominator.

    Args:
        iou, precision, recall, f1: (K,) float64 in [0, 1].
        support: (K,) int64 true pixels.
    """

    iou: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]

    @classmethod
    def of(cls, matrix: NDArray[np.int64]) -> "ClassScores":
        """From `confusion`'s (K, K)."""
        hits, truth, mapped = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        return cls(
            iou(matrix), quotient(hits, mapped), quotient(hits, truth), quotient(2 * hits, truth + mapped), truth
        )

    @property
    def rarest_first(self) -> NDArray[np.intp]:
        """(K,) class ids by true pixels, the fewest first."""
        return np.argsort(self.support, kind="stable")


def calibration_error(pixels: NDArray[np.int64], hits: NDArray[np.int64]) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599) over 15 bins, 0 to 1; NaN without a pixel.

    Entry i of `pixels` (N,) counts those of confidence i / (N - 1), and of `hits` (N,) those of them that are right.
    """
    confidence = np.arange(len(pixels)) / (len(pixels) - 1)
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    counted = np.bincount(place, pixels, _BINS)
    gap = np.abs(np.bincount(place, hits, _BINS) - np.bincount(place, pixels * confidence, _BINS))
    return float(gap.sum() / counted.sum()) if counted.sum() else float("nan")


@dataclass(frozen=True)
class SurestPixels:
    """The pixels of a confidence and more.

    Args:
        coverage: their share of all, 0 to 1.
        confidence: the least among them, 0 to 1.
        accuracy: share of them that are right, 0 to 1.
    """

    coverage: float
    confidence: float
    accuracy: float

    @classmethod
    def at(cls, pixels: NDArray[np.int64], hits: NDArray[np.int64], coverage: float) -> "SurestPixels | None":
        """The fewest of the surest pixels that are at least this share of all; None without a pixel.

        `pixels` and `hits` (N,) are those of `calibration_error`.
        """
        surer, right = (np.cumsum(each[::-1])[::-1] for each in (pixels, hits))
        if not surer[0]:
            return None
        k = int(np.flatnonzero(surer >= coverage * surer[0])[-1])
        return cls(float(surer[k] / surer[0]), k / (len(pixels) - 1), float(right[k] / surer[k]))


def fit_temperature(logits: NDArray[np.floating[Any]], truth: NDArray[np.integer[Any]], prior: float = 0) -> float:
    """Temperature of the softmax with the highest likelihood (Guo et al. 2017).

    The negative log-likelihood is convex in the inverse temperature, so bisection on its slope finds the minimum.

    Logits are (N, K), and the truth (N,) class ids. For `prior` more pixels the logits are assumed calibrated, which
    pulls the temperature, 0.05 to 20, towards 1. Without them it is 0.05 where all pixels are right, and 20 where a
    guess would be as good.
    """
    z = np.asarray(logits, np.float64)
    z -= z.max(1, keepdims=True)
    seen = z[np.arange(len(z)), truth].mean()
    right = (len(z) * seen + prior * _expected(z)) / (len(z) + prior)
    low, high = 1 / _HOTTEST, float(_HOTTEST)  # of the inverse
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _expected(z, middle) < right else (low, middle)
    return 1 / math.sqrt(low * high)


def _expected(z: NDArray[np.float64], inverse: float = 1.0) -> float:
    """Mean over pixels of the expected logit under the softmax; logits (N, K) are at most 0."""
    shares = np.exp(inverse * z)
    return float(((shares * z).sum(1) / shares.sum(1)).mean())


def softmax_confidence(logits: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Largest softmax share (N,) of logits (N, K) over a temperature."""
    z = np.asarray(logits, np.float64) / temperature
    return np.asarray(1 / np.exp(z - z.max(1, keepdims=True)).sum(1), np.float64)


def bootstrap(
    blocks: NDArray[Any], statistic: Callable[[NDArray[Any]], NDArray[np.float64]], *, rounds: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """95 % interval of a statistic by resampling blocks with replacement (Efron 1979).

    Neighbouring pixels are correlated, so whole blocks are resampled: (B, ...) counts of each, such as its confusion.
    The statistic of a sum of them has any shape.

    Returns:
        (2, ...) lower and upper end of the statistic; NaN where the statistic is NaN in every draw.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=rounds)
    sums = np.tensordot(drawn, blocks, 1)
    values = np.array([statistic(each) for each in sums])
    known = ~np.isnan(values).all(0)
    ends = np.full((2, *known.shape), np.nan)
    ends[:, known] = np.nanpercentile(values[:, known], (2.5, 97.5), axis=0)
    return ends


def boundary_band(member: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels of a region within `width` px of its outside, diagonally too; beyond the image is outside.

    The band that boundary IoU compares (Cheng et al. 2021, arXiv 2103.16562).
    """
    outside = np.pad(~member, width, constant_values=True)
    down = np.lib.stride_tricks.sliding_window_view(outside, 2 * width + 1, axis=0).any(-1)
    near = np.lib.stride_tricks.sliding_window_view(down, 2 * width + 1, axis=1).any(-1)
    return np.asarray(member & near, bool)


def quotient(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """Quotient of two arrays (N,); NaN where the divisor is 0."""
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0), np.float64)


def value_counts(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each of the 256 numbers is in (h, w) values; Pillow counts them four times as fast as bincount."""
    return np.array(Image.fromarray(values).histogram() if values.size else [0] * 256, np.int64)


class ClassChanges:
    """Counts how often the class changes across each line between two columns or two rows.

    Rows come from top to bottom, in strips of any height. Pairs with a pixel without data are not counted.
    """

    def __init__(self, width: int) -> None:
        self._cols = np.zeros((2, width - 1), np.int64)  # (changed, counted)
        self._rows: list[NDArray[np.int64]] = []
        self._above = np.empty((0, width), np.uint8)

    def add(self, rows: NDArray[np.uint8]) -> None:
        """Count the next rows, (h, width) class ids."""
        self._cols += _change_counts(rows[:, :-1], rows[:, 1:], axis=0)
        stacked = np.concatenate([self._above, rows])
        self._rows.append(_change_counts(stacked[:-1], stacked[1:], axis=1))
        self._above = rows[-1:].copy()

    def ratio(self, col_seams: Sequence[int], row_seams: Sequence[int]) -> float | None:
        """How much more often the class changes where tiles meet than elsewhere; 1 is seamless.

        A seam is a column or row at which a new tile begins. The share of changes across seams is divided by the median
        share across other lines; the ratio is the mean of both axes. None without a seam, or where nothing changes.
        """
        rows = np.concatenate(self._rows, axis=1) if self._rows else np.zeros((2, 0), np.int64)
        pairs = ((self._cols, col_seams), (rows, row_seams))
        ratios = [ratio for counts, seams in pairs if (ratio := _seam_ratio(counts, seams)) is not None]
        return float(np.mean(ratios)) if ratios else None


def _change_counts(one: NDArray[np.uint8], other: NDArray[np.uint8], axis: int) -> NDArray[np.int64]:
    """(2, lines) pairs that change, and pairs that count."""
    counted = (one != NODATA) & (other != NODATA)
    changed = (one != other) & counted
    return np.stack([each.sum(axis, dtype=np.uint32) for each in (changed, counted)]).astype(np.int64)


def _seam_ratio(counts: NDArray[np.int64], seams: Sequence[int]) -> float | None:
    share = counts[0] / np.maximum(counts[1], 1)
    at_seam = np.zeros(len(share), bool)
    at_seam[[seam - 1 for seam in seams if 0 < seam <= len(share)]] = True
    elsewhere = np.median(share[~at_seam]) if (~at_seam).any() else 0.0
    return float(share[at_seam].mean() / elsewhere) if at_seam.any() and elsewhere > 0 else None
