"""The limits of the verdict on a map, and which maps may be published."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from agriseg import units
from agriseg.errors import UsageError
from agriseg.options.table import option

AmberRed = tuple[float, float]

_RANGES: Mapping[str, tuple[float, float]] = {
    "distance": (0.0, inf), "gsd_ratio": (1.0, inf), "doubtful": (0.0, 1.0), "nodata": (0.0, 1.0), "failed": (0.0, 1.0)
}  # fmt: skip
"""Least and greatest value of each measure that has limits."""
NOT_JUDGED = (1.0, 1.0)
"""Limits of a share that is not judged."""


@dataclass(frozen=True)
class VerdictLimits:
    """Above its first limit a measure makes a map amber, above the second red; docs/verdicts.md explains them.

    A share with the limits `NOT_JUDGED` is not judged; `of` accepts `100%` and more for them.

    Args:
        distance: of the raster's mean colour from that of the training pixels, in standard deviations.
        gsd_ratio: of the ground sample distance of the network's input to the model's, or its inverse; 1 or more.
        doubtful: share of pixels with a confidence below 0.7.
        nodata: share of pixels without data.
        failed: share of pixels that could not be read.
    """

    distance: AmberRed = (2.0, 5.0)
    gsd_ratio: AmberRed = (1.25, 2.0)
    doubtful: AmberRed = (0.1, 0.3)
    nodata: AmberRed = (0.95, 0.999)
    failed: AmberRed = (0.0, 0.01)

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            amber, red = getattr(self, name)
            if most == 1 and (amber, red) == NOT_JUDGED:
                continue
            if not least <= amber <= red < most:  # nor is NaN
                such = f"from {least:g} to below {most:g}" if most < inf else f"{least:g} or more"
                percent = "; 10 % is written 10% or 0.1, and 100%:100% judges nothing" if most == 1 else ""
                raise UsageError(
                    f"limit {name}={amber:g}:{red:g}, expected amber and then red, which is no less, {such}{percent}; "
                    "a limit that nothing can exceed would check nothing"
                )

    @classmethod
    def of(cls, texts: "Iterable[str] | VerdictLimits") -> "VerdictLimits":
        """Limits as users write them: `doubtful=10%:30%`, `distance=2:5`; the others keep their defaults.

        Raises:
            UsageError: a limit is unknown, cannot be parsed, or can never be exceeded.
        """
        if isinstance(texts, VerdictLimits):
            return texts
        limits: dict[str, AmberRed] = {}
        for text in texts:
            name, _, numbers = text.partition("=")
            amber, _, red = numbers.partition(":")
            if name not in _RANGES or name in limits or not red:
                known = ", ".join(_RANGES)
                raise UsageError(
                    f"limit {text!r}, expected NAME=AMBER:RED, each name once, of {known}, such as distance=2:5"
                )
            limits[name] = units.share(amber), units.share(red)
            if limits[name][0] == 1 <= limits[name][1] and amber.strip().endswith("%"):
                limits[name] = NOT_JUDGED
            elif limits[name] == NOT_JUDGED:
                raise UsageError(
                    f"limit {text!r}: 1 is 100 %, and 1 % is written 1%; say {name}=100%:100% to judge nothing"
                )
        return cls(**limits)


_FAIL_ON: Mapping[str, tuple[str, ...]] = {"never": (), "red": ("red",), "amber": ("amber", "red")}


def _colours(fail_on: str | tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(fail_on, tuple):
        return fail_on
    if fail_on not in _FAIL_ON:
        raise UsageError(f"fail_on {fail_on!r}, expected {', '.join(_FAIL_ON)}")
    return _FAIL_ON[fail_on]


@dataclass(frozen=True)
class PublishPolicy:
    """Which maps may be published.

    `fail_on` holds the colours of maps that count as failed and go to the folder `quarantine`, if there is one.
    """

    limits: VerdictLimits = option(
        VerdictLimits(), "Limits of the verdict: distance=2:5, gsd_ratio, doubtful=10%:30%, nodata, failed.",
        "NAME=AMBER:RED", names=("--limit",), multiple=True, parse=VerdictLimits.of,
    )  # fmt: skip
    fail_on: tuple[str, ...] = option(
        (), "Treat maps with this verdict or worse as failed: they go to OUT/quarantine, exit code 3; default never.",
        choices=tuple(_FAIL_ON), parse=_colours,
    )  # fmt: skip
    quarantine: Path | None = None

    def refuses(self, colour: str) -> bool:
        """Whether a map with a verdict of this colour counts as failed."""
        return colour in self.fail_on
