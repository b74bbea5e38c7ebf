"""The verdict on a map: green, amber or red, with the reasons.

A network gives confident classes for any image: a map of other ground, of swapped bands or of a coarser raster looks
like every other map. This module measures what can be measured without labels, and compares each measurement with a
limit for amber and one for red.
"""

import numpy as np

from agriseg.errors import ModelError
from agriseg.mapping.prepare import MappingJob
from agriseg.maps.record import PixelTotals
from agriseg.maps.verdict import Reason, Verdict
from agriseg.model import SegmentationModel
from agriseg.options.verdict import VerdictLimits

COLOURS = ("green", "amber", "red")
_RIDGE = 0.01  # added to the correlations: what no two bands of a camera agree on better is noise


def assess(prepared: MappingJob, pixels: PixelTotals, doubtful: int, limits: VerdictLimits) -> Verdict:
    """Compare the measurements of a map with the limits.

    Args:
        prepared: raster, model and contract.
        pixels: totals of the map.
        doubtful: number of pixels with a confidence below 0.7.
        limits: for amber and red.
    """
    measured = {
        "distance": distance(prepared.model, prepared.contract.sample.mean),
        "gsd_ratio": _gsd_ratio(prepared),
        "doubtful": doubtful / max(1, pixels.predicted),
        "nodata": pixels.nodata / pixels.total,
        "failed": pixels.failed / pixels.total,
    }
    causes = [
        Reason(name, value, *getattr(limits, name))
        for name, value in measured.items()
        if value is not None and value > getattr(limits, name)[0]
    ]
    causes += _impossible_checks(prepared, measured["distance"])
    causes.sort(key=_rank, reverse=True)
    colour = COLOURS[_rank(causes[0]) if causes else 0]
    return Verdict(colour, tuple(map(_text, causes)), tuple(causes), _unchecked(prepared.model), **measured)


def _rank(cause: Reason) -> int:
    """1 for amber, 2 for red."""
    return 2 if cause.value is not None and cause.red is not None and cause.value > cause.red else 1


def _text(cause: Reason) -> str:
    """A reason in words."""
    text = _REASONS[cause.what].format(cause.value)
    return text if cause.amber is None else f"{text} (limits {cause.amber:g}, {cause.red:g})"


def _impossible_checks(prepared: MappingJob, distance: float | None) -> list[Reason]:
    """Checks that were not possible; each makes the map amber."""
    model, sample, causes = prepared.model, prepared.contract.sample, []
    if model.gsd is not None and prepared.info.gsd is None:
        causes.append(Reason("gsd_unknown"))
    if distance is None and sample.valid:
        causes.append(Reason("colours_unknown"))
    if not sample.enough:
        causes.append(Reason("sample_small", sample.valid))
    return causes


def _unchecked(model: SegmentationModel) -> tuple[str, ...]:
    """Checks that this model does not allow."""
    checks = [
        (model.gsd is None, "the ground resolution, which the model does not know"),
        ("evaluation" not in model.about, "the model itself: its card has no scores on labels that it had not seen"),
    ]
    return tuple(text for missing, text in checks if missing)


_REASONS = {
    "distance": "its colours lie {:.1f} deviations from those of the training: other light, camera or ground, "
    "or bands in another order",
    "gsd_ratio": "its pixels are {:.2f} times as coarse, or as fine, as those of the training",
    "doubtful": "the network doubts {:.1%} of the pixels",
    "nodata": "{:.1%} of it are no data",
    "failed": "{:.2%} of it could not be read",
    "colours_unknown": "its colours are compared with nothing: the model's card has no correlations of its training",
    "sample_small": "just {:,} pixels with data were met where numbers and colours were looked at before the run",
    "gsd_unknown": "the raster's ground resolution is unknown, and the model knows its own",
}


def distance(model: SegmentationModel, mean: tuple[float, ...] | None) -> float | None:
    """Distance of a colour from the training pixels of a model, in standard deviations: Mahalanobis (1936).

    The bands of one camera are strongly correlated, so a difference between bands says more than brightness. The
    distance therefore uses the correlations of the training pixels, which the model card holds.

    Args:
        model: with `correlation` in `about`, (C, C).
        mean: stored numbers, per band of the model; None without valid pixels.

    Returns:
        None where the card has no correlations, or there is no mean.

    Raises:
        ModelError: the card's correlations are none.
    """
    card = model.about.get("correlation")
    if card is None or mean is None:
        return None
    bands = len(model.bands)
    try:
        correlation = np.asarray(card, np.float64).reshape(bands, bands) + _RIDGE * np.eye(bands)
        shift = (np.array(mean) * model.scale - model.mean) / model.std
        return float(np.sqrt(shift @ np.linalg.solve(correlation, shift)))
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        raise ModelError(f"model {model.name!r}: its card's correlation must be {bands} x {bands} numbers") from error


def _gsd_ratio(prepared: MappingJob) -> float | None:
    """Ratio of the GSD that the network sees to the GSD of its training, or the inverse, whichever is larger.

    The network never sees finer pixels than the raster's; at the model's own GSD finer pixels are averaged.
    """
    model, own, asked = prepared.model.gsd, prepared.info.gsd, prepared.options.gsd
    if model is None or own is None:
        return None
    if asked == "native":
        return max(max(own) / model, model / min(own))
    seen = model if asked == "auto" else float(asked)
    return max(max(*own, seen) / model, model / seen)
