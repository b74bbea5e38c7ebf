"""Green, amber, red: does a map deserve trust before anybody has looked at it, and if not, why.

A network answers for any picture, and often with confidence: a map of other ground, of swapped bands or of a
coarser raster looks like every other. What can be known without labels is looked at here, each thing by a limit for
amber and one for red.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agriseg.errors import ModelError
from agriseg.mapping.prepare import MappingJob
from agriseg.model import SegmentationModel
from agriseg.options.run import VerdictLimits

COLOURS = ("green", "amber", "red")
_RIDGE = 0.01  # added to the correlations: what no two bands of a camera agree on better is noise


@dataclass(frozen=True)
class Reason:
    """One thing for which a map is not green.

    Args:
        what: name of a limit; or of a check that could not be made: `gsd_unknown`, `colours_unknown`, `sample_small`.
        value: that was measured, and `amber` and `red`, its limits; None for what has none.
    """

    what: str
    value: float | None = None
    amber: float | None = None
    red: float | None = None

    @property
    def rank(self) -> int:
        """1 for amber, 2 for red."""
        return 2 if self.value is not None and self.red is not None and self.value > self.red else 1

    @property
    def text(self) -> str:
        """For a reader."""
        said = _REASONS[self.what].format(self.value)
        return said if self.amber is None else f"{said} (limits {self.amber:g}, {self.red:g})"


@dataclass(frozen=True)
class Verdict:
    """What is thought of a map.

    Args:
        colour: green, amber or red.
        causes: why it is not green; the worst first.
        figures: what was measured, None where it cannot be.
        unchecked: what nobody can know of this model, and so says nothing of this map.
    """

    colour: str
    causes: tuple[Reason, ...]
    figures: Mapping[str, float | None]
    unchecked: tuple[str, ...] = ()


def assess(prepared: MappingJob, pixels: Mapping[str, int], doubtful: int, limits: VerdictLimits) -> Verdict:
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
    found = [
        Reason(name, value, *getattr(limits, name))
        for name, value in figures.items()
        if value is not None and value > getattr(limits, name)[0]
    ]
    found += _not_made(prepared, figures)
    found.sort(key=lambda cause: -cause.rank)
    return Verdict(COLOURS[found[0].rank if found else 0], tuple(found), figures, _unchecked(prepared.model))


def _not_made(prepared: MappingJob, figures: Mapping[str, float | None]) -> list[Reason]:
    """Checks that could not be made: each is a doubt."""
    model, sample, found = prepared.model, prepared.contract.sample, []
    if model.gsd is not None and prepared.info.gsd is None:
        found.append(Reason("gsd_unknown"))
    if figures["distance"] is None and sample.valid:
        found.append(Reason("colours_unknown"))
    if not sample.enough:
        found.append(Reason("sample_small", sample.valid))
    return found


def _unchecked(model: SegmentationModel) -> tuple[str, ...]:
    """What is not compared since the model tells nothing: of that, its card and the run's warnings speak."""
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


def _gsd_ratio(prepared: MappingJob) -> float | None:
    """The pixels that the network sees over those of its training, or the other way round, whichever is more.

    What it sees is no finer than the raster; at the model's own resolution finer pixels are averaged to it.
    """
    model, own, asked = prepared.model.gsd, prepared.info.gsd, prepared.options.gsd
    if model is None or own is None:
        return None
    if asked == "native":
        return max(max(own) / model, model / min(own))
    seen = model if asked == "auto" else float(asked)
    return max(max(*own, seen) / model, model / seen)


def as_values(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON values; each reason is a cause in words."""
    causes = verdict.causes
    told = {"reasons": [cause.text for cause in causes], "causes": [asdict(cause) for cause in causes]}
    return {"colour": verdict.colour, **told, "unchecked": list(verdict.unchecked), **verdict.figures}
