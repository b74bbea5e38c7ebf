"""What a model knows of its training, and how far a raster is from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from agriseg.errors import ModelError

_RIDGE = 0.01  # added to the correlations: what no two bands of a camera agree on better is noise


@dataclass(frozen=True)
class TrainingFacts:
    """What a model knows of its training.

    Args:
        scale: stored number to the unit of mean and std; None if that is the mean over the bands.
        mean, std: of the training pixels, per band; of a model that normalizes by the raster, of its images.
        gsd: metres per pixel that the model resamples rasters to; None if it takes them as they are.
        card: the model card, JSON values; `correlation` is that of the bands, (C, C).
    """

    model: str
    scale: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    gsd: float | None
    card: Mapping[str, Any]

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
