"""The verdict on a map: green, amber or red, with the reasons.

A network gives confident classes for any image: a map of other ground, of swapped bands or of a coarser raster looks
like every other map. A criterion measures something that needs no labels, and has a limit for amber and one for red.

Each criterion is one field of `Verdict`. The flag `--limit`, the record, the reasons and the report follow from it; the
Chinese sentence is in `data/words.zh.json`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import inf
from typing import Any

from agriseg.training_facts import PixelSize, TrainingFacts, distance, gsd_ratio

AmberRed = tuple[float, float]

COLOURS = ("green", "amber", "red")
_SHARE = (0.0, 1.0)
_STRAY = 0.001  # share of the map up to which a class is some stray pixels, of which nothing is said


@dataclass(frozen=True)
class VerdictInput:
    """What is known of a finished map without labels.

    Args:
        raster_gsd: metres per pixel along rows and columns; None if unknown.
        gsd: of the network's input: auto (that of the model), native (that of the raster), or metres per pixel.
        sample_mean: stored numbers of the pixel sample, per band of the model; None without valid pixels.
        sample_enough: whether the sample says something of the whole raster.
        pixels, predicted, nodata, failed: numbers of pixels, see `PixelTotals`.
        doubtful: pixels of each class with a confidence below 0.7.
        class_pixels: pixels of each class as the network has it, also where the map is unsure.
        seam_ratio: how much more often the class changes where tiles meet; None without seams or changes.
    """

    training: TrainingFacts
    raster_gsd: tuple[float, float] | None
    gsd: float | str
    sample_mean: tuple[float, ...] | None
    sample_valid: int
    sample_enough: bool
    pixels: int
    predicted: int
    nodata: int
    failed: int
    doubtful: tuple[int, ...]
    class_pixels: tuple[int, ...]
    seam_ratio: float | None


def _doubtful_class(known: VerdictInput) -> float | None:
    """Share of the doubtful pixels of a class, the largest; of classes that take up some of the map."""
    shares = [
        doubtful / pixels
        for doubtful, pixels in zip(known.doubtful, known.class_pixels, strict=True)
        if pixels > _STRAY * known.predicted
    ]
    return max(shares, default=None)


@dataclass(frozen=True)
class Criterion:
    """How a map is judged by one measurement.

    Args:
        limits: above the first the map is amber, above the second red; users may set others.
        span: least and greatest value of the measurement.
        measure: the measurement; None where it is unknown.
        reason: why a map is not green, with `{value}`, `{amber}` and `{red}`.
    """

    limits: AmberRed
    span: tuple[float, float]
    measure: Callable[[VerdictInput], float | None]
    reason: str

    @property
    def is_share(self) -> bool:
        """Whether the measurement is a share of 0 to 1."""
        return self.span == _SHARE


def _criterion(
    limits: AmberRed, span: tuple[float, float], measure: Callable[[VerdictInput], float | None], reason: str
) -> Any:
    """A field of `Verdict`; None where the criterion was not measured, as in records of older maps."""
    return field(default=None, metadata={"criterion": Criterion(limits, span, measure, reason)})


@dataclass(frozen=True)
class Reason:
    """One reason why a map is not green.

    Args:
        what: name of a criterion, or a name in `NOT_POSSIBLE`.
        value: the measurement, and `amber` and `red`, its limits; None for what has none.
        miou, own_miou: mean IoU that is foretold at this value, and that at the GSD of the model; None if unknown.
    """

    what: str
    value: float | None = None
    amber: float | None = None
    red: float | None = None
    miou: float | None = None
    own_miou: float | None = None

    @property
    def sentence(self) -> str:
        """Why, with the names of the fields in braces for the numbers."""
        if self.miou is not None:
            return FORETOLD
        return CRITERIA[self.what].reason if self.what in CRITERIA else NOT_POSSIBLE[self.what]

    @property
    def colour(self) -> str:
        """Amber or red; a check that was not possible is amber."""
        return "red" if self.value is not None and self.red is not None and self.value > self.red else "amber"


@dataclass(frozen=True)
class Verdict:
    """Whether a map deserves trust.

    Args:
        causes: the same as values.
        unchecked: checks that are not possible with this model.
        distance: of the raster's mean colour from that of the training pixels, in standard deviations.
        gsd_ratio: of the ground sample distance of the network's input to the model's, or its inverse; 1 or more.
        doubtful: share of pixels with a confidence below 0.7.
        doubtful_class: the same of the pixels of one class, for the class where it is largest.
        nodata: share of pixels without data.
        failed: share of pixels that could not be read.
    """

    colour: str
    reasons: tuple[str, ...]
    causes: tuple[Reason, ...]
    unchecked: tuple[str, ...]
    distance: float | None = _criterion(
        (2.0, 5.0), (0.0, inf), lambda known: distance(known.training, known.sample_mean),
        "the colours are {value:.1f} standard deviations from the training data (limits {amber:g}, {red:g}): other "
        "light, camera or soil, or bands in another order",
    )  # fmt: skip
    gsd_ratio: float | None = _criterion(
        (1.25, 2.0), (1.0, inf), lambda known: gsd_ratio(known.training, known.raster_gsd, known.gsd),
        "the pixels are {value:.2f} times as large, or as small, as in the training data (limits {amber:g}, {red:g})",
    )  # fmt: skip
    doubtful: float | None = _criterion(
        (0.1, 0.3), _SHARE, lambda known: sum(known.doubtful) / max(1, known.predicted),
        "{value:.1%} of the pixels have a low confidence (limits {amber:.1%}, {red:.1%})",
    )  # fmt: skip
    doubtful_class: float | None = _criterion(
        (0.15, 0.4), _SHARE, _doubtful_class,
        "{value:.1%} of the pixels of one class have a low confidence (limits {amber:.1%}, {red:.1%})",
    )  # fmt: skip
    nodata: float | None = _criterion(
        (0.95, 0.999), _SHARE, lambda known: known.nodata / known.pixels,
        "{value:.1%} of the image has no data (limits {amber:.1%}, {red:.1%})",
    )  # fmt: skip
    failed: float | None = _criterion(
        (0.0, 0.01), _SHARE, lambda known: known.failed / known.pixels, "{value:.2%} of the image could not be read",
    )  # fmt: skip


CRITERIA: Mapping[str, Criterion] = {
    each.name: each.metadata["criterion"] for each in fields(Verdict) if "criterion" in each.metadata
}
"""All criteria by name."""
FORETOLD = (
    "the pixels are {value:.2f} times as large as in the training data (limits {amber:g}, {red:g}): on its held-back "
    "labels the model then has a mean IoU of {miou:.2f} instead of {own_miou:.2f}"
)
"""The sentence of `gsd_ratio` where the curve of the model tells the scores."""
NOT_POSSIBLE: Mapping[str, str] = {
    "gsd_unknown": "the GSD of the image is unknown, so it was not compared with that of the model",
    "colours_unknown": "the colours were not checked: the model card has no correlations of the training data",
    "sample_small": "the sample that was checked before the run has only {value:,} pixels with data",
}
"""Checks that were not possible, by name; each makes a map amber."""


def assess(known: VerdictInput, limits: Mapping[str, AmberRed]) -> Verdict:
    """Compare the measurements of a map with the limits of each criterion."""
    measured = {name: criterion.measure(known) for name, criterion in CRITERIA.items()}
    causes = [
        Reason(name, value, *limits[name])
        for name, value in measured.items()
        if value is not None and value > limits[name][0]
    ]
    causes = [_with_curve(known, cause) if cause.what == "gsd_ratio" else cause for cause in causes]
    causes += _impossible_checks(known)
    causes.sort(key=lambda cause: COLOURS.index(cause.colour), reverse=True)
    colour = causes[0].colour if causes else "green"
    reasons = tuple(cause.sentence.format(**vars(cause)) for cause in causes)
    return Verdict(colour, reasons, tuple(causes), _unchecked(known.training), **measured)


def _with_curve(known: VerdictInput, cause: Reason) -> Reason:
    """The reason with what the model's curve foretells."""
    size = PixelSize.of(known.training, known.raster_gsd, known.gsd)
    if size.foretold_miou is None or size.gsd_curve is None:
        return cause
    return replace(cause, miou=size.foretold_miou, own_miou=size.gsd_curve.own_miou)


def _impossible_checks(known: VerdictInput) -> list[Reason]:
    causes = []
    if known.training.gsd_range is not None and known.raster_gsd is None:
        causes.append(Reason("gsd_unknown"))
    if known.training.card.get("correlation") is None and known.sample_valid:
        causes.append(Reason("colours_unknown"))
    if not known.sample_enough:
        causes.append(Reason("sample_small", known.sample_valid))
    return causes


def _unchecked(training: TrainingFacts) -> tuple[str, ...]:
    """Checks that this model does not allow."""
    checks = [
        (training.gsd_range is None, "the ground resolution, which the model does not know"),
        ("evaluation" not in training.card, "the model itself: its card has no scores on labels that it had not seen"),
    ]
    return tuple(text for missing, text in checks if missing)
