"""The verdict on a map, as its record holds it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """One reason why a map is not green.

    Args:
        what: name of a limit; or of a check that was not possible: `gsd_unknown`, `colours_unknown`, `sample_small`.
        value: the measurement, and `amber` and `red`, its limits; None for what has none.
    """

    what: str
    value: float | None = None
    amber: float | None = None
    red: float | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether a map deserves trust.

    Args:
        colour: green, amber or red.
        reasons: why it is not green, in words; the worst first.
        causes: the same as values.
        unchecked: checks that are not possible with this model.
        distance, gsd_ratio, doubtful, nodata, failed: the measurements, see `VerdictLimits`; None where unknown.
    """

    colour: str
    reasons: tuple[str, ...]
    causes: tuple[Reason, ...]
    unchecked: tuple[str, ...]
    distance: float | None
    gsd_ratio: float | None
    doubtful: float | None
    nodata: float | None
    failed: float | None
