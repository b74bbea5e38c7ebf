"""Green, amber, red: does a map deserve trust before anybody has looked at it, and if not, why.

A network answers for any picture, and often with confidence: a map of other ground, of swapped bands or of a
coarser raster looks like every other. What can be known without labels is looked at here, each thing by a limit for
amber and one for red.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agriseg.config import Limits
from agriseg.errors import ModelError
from agriseg.jobs.prepare import Prepared
from agriseg.model import SegmentationModel

COLOURS = ("green", "amber", "red")
_RIDGE = 0.01  # added to the correlations: what no two bands of a camera agree on better is noise


@dataclass(frozen=True)
class Cause:
    """One thing for which a map is not green.

    Args:
        what: name of a limit, or `gsd_unknown`.
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
        return said if self.value is None else f"{said} (limits {self.amber:g}, {self.red:g})"


@dataclass(frozen=True)
class Verdict:
    """What is thought of a map.

    Args:
        colour: green, amber or red.
        causes: why it is not green; the worst first.
        figures: what was measured, None where it cannot be.
    """

    colour: str
    causes: tuple[Cause, ...]
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
    found = [
        Cause(name, value, *getattr(limits, name))
        for name, value in figures.items()
        if value is not None and value > getattr(limits, name)[0]
    ]
    if prepared.model.gsd is not None and prepared.info.gsd is None:
        found.append(Cause("gsd_unknown"))
    found.sort(key=lambda cause: -cause.rank)
    return Verdict(COLOURS[found[0].rank if found else 0], tuple(found), figures)


_REASONS = {
    "distance": "its colours lie {:.1f} deviations from those of the training: other light, camera or ground, "
    "or bands in another order",
    "gsd_ratio": "its pixels are {:.2f} times as coarse, or as fine, as those of the training",
    "doubtful": "the network doubts {:.1%} of the pixels",
    "nodata": "{:.1%} of it are no data",
    "failed": "{:.2%} of it could not be read",
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


def _gsd_ratio(prepared: Prepared) -> float | None:
    """The raster's pixels over the model's; finer ones count only where they are not averaged."""
    model, own = prepared.model.gsd, prepared.info.gsd
    if model is None or own is None:
        return None
    coarser, finer = max(own) / model, model / min(own)
    return max(coarser, finer) if prepared.options.gsd == "native" else max(coarser, 1.0)


def as_values(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON values; each reason is a cause in words."""
    causes = verdict.causes
    told = {"reasons": [cause.text for cause in causes], "causes": [asdict(cause) for cause in causes]}
    return {"colour": verdict.colour, **told, **verdict.figures}
