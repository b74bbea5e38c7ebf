"""The limits of the verdict on a map, and which maps may be published."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from agriseg import units
from agriseg.errors import UsageError
from agriseg.options.table import Options, option
from agriseg.verdict import CRITERIA, AmberRed, Criterion

NOT_JUDGED = (1.0, 1.0)
"""Limits of a share that is not judged."""


@dataclass(frozen=True)
class VerdictLimits:
    """The limits for amber and red that the user sets, by criterion; docs/verdicts.md explains them.

    A share with the limits `NOT_JUDGED` is not judged; `of` accepts `100%` and more for them.

    Raises:
        UsageError: a limit can never be exceeded.
    """

    chosen: Mapping[str, AmberRed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (amber, red) in self.chosen.items():
            criterion, (least, most) = CRITERIA[name], CRITERIA[name].span
            if criterion.is_share and (amber, red) == NOT_JUDGED:
                continue
            if not least <= amber <= red < most:  # nor is NaN
                such = f"from {least:g} to below {most:g}" if most < inf else f"{least:g} or more"
                percent = "; 10 % is written 10% or 0.1, and 100%:100% judges nothing" if criterion.is_share else ""
                raise UsageError(
                    f"limit {name}={amber:g}:{red:g}, expected amber and then red, which is no less, {such}{percent}; "
                    "a limit that nothing can exceed would check nothing"
                )

    @property
    def all(self) -> dict[str, AmberRed]:
        """The limits of all criteria."""
        return {name: self.chosen.get(name, criterion.limits) for name, criterion in CRITERIA.items()}

    def over(self, defaults: "VerdictLimits") -> "VerdictLimits":
        """These limits, and those of `defaults` for the criteria that they do not name."""
        return VerdictLimits({**defaults.chosen, **self.chosen})

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
            if name not in CRITERIA or name in limits or not red:
                known = ", ".join(CRITERIA)
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
        return cls(limits)


def _written(name: str, criterion: Criterion) -> str:
    """The default limits of a criterion as a user would write them."""
    amber, red = (f"{100 * limit:g}%" if criterion.is_share else f"{limit:g}" for limit in criterion.limits)
    return f"{name}={amber}:{red}"


_FAIL_ON: Mapping[str, tuple[str, ...]] = {"never": (), "red": ("red",), "amber": ("amber", "red")}


def _colours(fail_on: str | tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(fail_on, tuple):
        return fail_on
    if fail_on not in _FAIL_ON:
        raise UsageError(f"fail_on {fail_on!r}, expected {', '.join(_FAIL_ON)}")
    return _FAIL_ON[fail_on]


@dataclass(frozen=True)
class PublishPolicy(Options):
    """Which maps may be published.

    `fail_on` holds the colours of maps that count as failed and go to the folder `quarantine`, if there is one.
    """

    limits: VerdictLimits = option(
        VerdictLimits(), f"Limits of the verdict; default {', '.join(map(_written, CRITERIA, CRITERIA.values()))}.",
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
