"""Green, amber, red: does a map deserve trust before anybody has looked at it, and if not, why.

A network answers for any picture, and often with confidence: a map of other ground, of swapped bands or of a
coarser raster looks like every other. What can be known without labels is looked at here, each thing by a limit for
amber and one for red.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agriseg.config import Limits
from agriseg.errors import ModelError
from agriseg.jobs.prepare import Prepared
from agriseg.model import SegmentationModel

COLOURS = ("green", "amber", "red")
_RIDGE = 0.01  # added to the correlations: what no two bands of a camera agree on better is noise


@dataclass(frozen=True)
class Verdict:
    """What is thought of a map.

    Args:
        colour: green, amber or red.
        reasons: why it is not green; the worst first.
        figures: what was measured, None where it cannot be.
    """

    colour: str
    reasons: tuple[str, ...]
    figures: Mapping[str, float | None]


def judge(prepared: Prepared, pixels: Mapping[str, int], doubtful: int, limits: Limits) -> Verdict:
    """Look at what is known of a map.

    Args:
        prepared: raster, model and contract.
        pixels: account of the map: total, predicted, nodata, failed.
        doubtful: pixels with little confidence.
        limits: what is too much.
    """
    total, predicted = pixels["total"], max(1, pixels["predicted"])
    figures = {
        "distance": distance(prepared.model, prepared.contract.sample.mean),
        "gsd_ratio": _gsd_ratio(prepared),
        "doubtful": doubtful / predicted,
        "nodata": pixels["nodata"] / total,
        "failed": pixels["failed"] / total,
    }
    found = []
    for name, value in figures.items():
        amber, red = getattr(limits, name)
        if value is not None and value > amber:
            found.append((int(value > red) + 1, f"{_REASONS[name].format(value)} (limits {amber:g}, {red:g})"))
    if prepared.model.gsd is not None and prepared.info.gsd is None:
        found.append((1, "the raster's ground resolution is unknown, and the model knows its own"))
    found.sort(key=lambda each: -each[0])
    worst = found[0][0] if found else 0
    return Verdict(COLOURS[worst], tuple(reason for _, reason in found), figures)


_REASONS = {
    "distance": "its colours lie {:.1f} deviations from those of the training: other light, camera or ground, "
    "or bands in another order",
    "gsd_ratio": "its pixels are {:.2f} times as coarse, or as fine, as those of the training",
    "doubtful": "the network doubts {:.1%} of the pixels",
    "nodata": "{:.1%} of it are no data",
    "failed": "{:.2%} of it could not be read",
}


def distance(model: SegmentationModel, mean: tuple[float, ...] | None) -> float | None:
    """How far a colour lies from the pixels that a model was trained on: Mahalanobis (1936), in deviations.

    Bands of one camera rise and fall together, so that what they differ by tells more than how bright they are: the
    distance is taken with the correlations of the training pixels, which the model's card holds.

    Args:
        model: with `correlation` in `about`, (C, C).
        mean: stored numbers, per band of the model; None without valid pixels.

    Returns:
        None where the card has no correlations, or there is no mean.

    Raises:
        ModelError: the card's correlations are none.
    """
    told = model.about.get("correlation")
    if told is None or mean is None:
        return None
    bands = len(model.bands)
    try:
        correlation = np.asarray(told, np.float64).reshape(bands, bands) + _RIDGE * np.eye(bands)
        shift = (np.array(mean) * model.scale - model.mean) / model.std
        return float(np.sqrt(shift @ np.linalg.solve(correlation, shift)))
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        raise ModelError(f"model {model.name!r}: its card's correlation must be {bands} x {bands} numbers") from error


def _gsd_ratio(prepared: Prepared) -> float | None:
    """The raster's pixels over the model's; finer ones count only where they are not averaged."""
    model, own = prepared.model.gsd, prepared.info.gsd
    if model is None or own is None:
        return None
    coarser, finer = max(own) / model, model / min(own)
    return max(coarser, finer) if prepared.options.gsd == "native" else max(coarser, 1.0)


def as_values(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON values."""
    return {"colour": verdict.colour, "reasons": list(verdict.reasons), **verdict.figures}
