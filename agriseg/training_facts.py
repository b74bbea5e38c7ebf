"""What a model knows of its training, and how far a raster is from it.

A trained model is tried on its held-back images after their pixels were averaged to larger ones. This curve over the
ground sample distance (GSD) is in the model file; the verdict on a map of a coarse raster, and its limits, follow from
it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import floor, inf, isinf, sqrt
from typing import Any

from agriseg.errors import ModelError

FACTORS = (1.0, 1.5, 2.0, 3.0)
"""How many times as large as in the training the pixels of a curve are."""
AMBER_LOSS, RED_LOSS = 0.05, 0.1
"""Of mean IoU, from which a map is amber, and red."""
_DIGITS = 100  # limits are whole hundredths
_ROUNDING = 1e-6  # of a hundredth
_RIDGE = 0.01  # added to the correlations: what no two bands of a camera agree on better is noise


@dataclass(frozen=True)
class GsdPoint:
    """Scores on pixels that are `factor` times as large as in the training; IoU by class, None where it has none."""

    factor: float
    miou: float
    iou: Mapping[str, float | None]


@dataclass(frozen=True)
class GsdCurve:
    """Scores over the size of the pixels.

    Args:
        resampled: whether the maps were made at the GSD of the model, as `agriseg run` does if the model knows it;
            else at that of the coarse rasters.
        labels_share: share of the held-back labels that were scored, above 0 and up to 1.
        points: by rising factor, the first at 1.

    Raises:
        ValueError: the points are no such list.
    """

    resampled: bool
    labels_share: float
    points: tuple[GsdPoint, ...]

    def __post_init__(self) -> None:
        factors = [point.factor for point in self.points]
        if factors[:1] != [1.0] or not all(low < high for low, high in pairwise(factors)):
            raise ValueError(f"factors {factors}, expected 1 and then larger ones")
        if not all(0 <= point.miou <= 1 for point in self.points):
            raise ValueError("a mean IoU outside 0 to 1")

    @property
    def own_miou(self) -> float:
        """Mean IoU on pixels as large as in the training."""
        return self.points[0].miou

    @property
    def text(self) -> str:
        """The curve as one line."""
        coarse = ", ".join(f"{point.factor:g} times {point.miou:.3f}" for point in self.points[1:]) or "unknown"
        part = "" if self.labels_share == 1 else f" (on {self.labels_share:.0%} of the held-back labels)"
        how = "resampled to the model's GSD" if self.resampled else "not resampled"
        return f"mean IoU {self.own_miou:.3f}; with larger pixels, {how}: {coarse}{part}"

    def miou_at(self, factor: float) -> float | None:
        """Mean IoU on pixels `factor` times as large, linear between points; None below 1 and beyond the last point."""
        for low, high in pairwise(self.points):
            if low.factor <= factor <= high.factor:
                share = (factor - low.factor) / (high.factor - low.factor)
                return low.miou + share * (high.miou - low.miou)
        return self.own_miou if factor == 1 else None

    def factor_at_loss(self, loss: float) -> float:
        """The smallest factor at which the mean IoU is `loss` below that at 1, linear between points; inf if none."""
        lowest = self.own_miou - loss
        for low, high in pairwise(self.points):
            if high.miou <= lowest:
                share = (low.miou - lowest) / (low.miou - high.miou)
                return low.factor + share * (high.factor - low.factor)
        return inf

    def limits(self, most: tuple[float, float]) -> tuple[float, float]:
        """Ratios of GSD above which a map is amber, and red: where the curve has lost `AMBER_LOSS` and `RED_LOSS`.

        They are `most` at most: the curve says nothing of other crops and cameras, nor of finer pixels.
        """
        amber, red = (
            min(largest, self._limit(loss)) for largest, loss in zip(most, (AMBER_LOSS, RED_LOSS), strict=True)
        )
        return amber, red

    def _limit(self, loss: float) -> float:
        """The factor at this loss, rounded down; inf if none."""
        factor = self.factor_at_loss(loss)
        return factor if isinf(factor) else floor(_DIGITS * factor + _ROUNDING) / _DIGITS


@dataclass(frozen=True)
class TrainingFacts:
    """What a model knows of its training.

    Args:
        scale: stored number to the unit of mean and std; None if that is the mean over the bands.
        mean, std: of the training pixels, per band; of a model that normalizes by the raster, of its images.
        gsd: metres per pixel that the model resamples rasters to; None if it takes them as they are.
        card: the model card, JSON values; `correlation` is that of the bands, (C, C).
        gsd_curve: how well it maps coarser pixels; None where the card does not say.
    """

    model: str
    scale: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    gsd: float | None
    card: Mapping[str, Any]
    gsd_curve: GsdCurve | None = None

    @property
    def gsd_range(self) -> tuple[float, float] | None:
        """The finest and the coarsest GSD of the training, metres; None if unknown."""
        if self.gsd is not None:
            return self.gsd, self.gsd
        low, high = self.card.get("gsd_range") or (None, None)
        return None if low is None or high is None else (low, high)


def distance(training: TrainingFacts, mean: tuple[float, ...] | None) -> float | None:
    """Distance of a colour from the training pixels, in standard deviations: Mahalanobis (1936).

    The bands of one camera are strongly correlated, so a difference between bands says more than brightness. The
    distance therefore uses the correlations of the training pixels, which the model card holds.

    Args:
        mean: stored numbers, per band of the model; None without valid pixels.

    Returns:
        None where the card has no correlations, or there is no mean.

    Raises:
        ModelError: the card's correlations are none.
    """
    import numpy as np  # the command line reads the criteria before it needs numpy

    card, bands = training.card.get("correlation"), len(training.mean)
    if card is None or mean is None:
        return None
    try:
        correlation = np.asarray(card, np.float64).reshape(bands, bands) + _RIDGE * np.eye(bands)
        scale = 1 / np.mean(mean) if training.scale is None else training.scale
        shift = (np.array(mean) * scale - training.mean) / training.std
        return sqrt(shift @ np.linalg.solve(correlation, shift))
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        raise ModelError(
            f"model {training.model!r}: its card's correlation must be {bands} x {bands} numbers"
        ) from error


def gsd_ratio(training: TrainingFacts, raster_gsd: tuple[float, float] | None, gsd: float | str) -> float | None:
    """Ratio of the GSD that the network sees to those of its training, or the inverse; 1 within their range.

    The network never sees finer pixels than the raster's; at the model's own GSD finer pixels are averaged.

    Args:
        raster_gsd: metres per pixel along rows and columns; None if unknown.
        gsd: of the network's input: auto (that of the model), native (that of the raster), or metres per pixel.

    Returns:
        None where the GSD of model or raster is unknown.
    """
    model, own = training.gsd_range, raster_gsd
    if model is None or own is None:
        return None
    resampled = training.gsd if gsd == "auto" else None if gsd == "native" else float(gsd)
    finest, coarsest = (min(own), max(own)) if resampled is None else (resampled, max(*own, resampled))
    return max(coarsest / model[1], model[0] / finest, 1.0)


@dataclass(frozen=True)
class PixelSize:
    """The size of a raster's pixels beside those of a model's training, and what that means.

    Args:
        gsd_ratio: see `gsd_ratio`.
        gsd_curve: scores of the model over the size of the pixels; None where its card does not say.
        foretold_miou: mean IoU by the curve at this ratio; None beyond its end, and where rasters are not resampled to
            a GSD that the model knows.
    """

    gsd_ratio: float | None
    gsd_curve: GsdCurve | None
    foretold_miou: float | None

    @classmethod
    def of(cls, training: TrainingFacts, raster_gsd: tuple[float, float] | None, gsd: float | str) -> "PixelSize":
        """For a raster; the arguments are those of `gsd_ratio`."""
        ratio, curve = gsd_ratio(training, raster_gsd, gsd), training.gsd_curve
        covered = curve is not None and curve.resampled and training.gsd is not None and gsd == "auto"
        return cls(ratio, curve, curve.miou_at(ratio) if covered and curve and ratio is not None else None)
