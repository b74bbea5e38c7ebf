"""The chart of what is sprayed against what is missed, as paths of an SVG."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from agriseg.prescription.measured.curve import CurvePoint, MissCurve

WIDTH, HEIGHT = 720, 400
LEFT, TOP, RIGHT, BOTTOM = 56, 14, 16, 48
"""Around the axes (px)."""
_TICKS = 5  # at most, of an axis, about

Point = tuple[float, float]


@dataclass(frozen=True)
class MissChart:
    """Paths in a picture of `WIDTH` x `HEIGHT`.

    Args:
        plants, area: missed plants and missed area over the sprayed share.
        band: 95 % interval of the missed plants.
        floor: of perfect knowledge.
        dots: of the points of `plants`.
        chosen: that of the prescription.
        across, down: position and text of the ticks.
    """

    plants: str
    area: str
    band: str
    floor: str
    dots: tuple[Point, ...]
    chosen: Point
    across: tuple[tuple[float, str], ...]
    down: tuple[tuple[float, str], ...]

    @classmethod
    def of(cls, curve: MissCurve) -> "MissChart":
        """The chart of a curve."""
        points = curve.points
        low, high = zip(*(_ends(point) for point in points), strict=True)
        sprayed, share = [point.sprayed for point in points], [point.plants.share or 0.0 for point in points]
        area = [point.area for point in points]
        axes = _Axes(max(*sprayed, 0.01), min(1.0, 1.1 * max(*high, *area, 0.05)))
        there = [axes.at(x, y) for x, y in zip(sprayed, high, strict=True)]
        back = [axes.at(x, y) for x, y in zip(sprayed, low, strict=True)][::-1]
        floor = zip(curve.floor.sprayed.tolist(), curve.floor.missed.tolist(), strict=True)
        within = [(x, y) for x, y in floor if y <= axes.top and x <= axes.right]
        return cls(
            _path(axes.at(x, y) for x, y in zip(sprayed, share, strict=True)),
            _path(axes.at(x, y) for x, y in zip(sprayed, area, strict=True)), _path([*there, *back]) + "Z",
            _path(axes.at(x, y) for x, y in within),
            tuple(axes.at(x, y) for x, y in zip(sprayed, share, strict=True)),
            axes.at(curve.chosen.sprayed, curve.chosen.plants.share or 0.0),
            tuple((axes.at(tick, 0)[0], _percent(tick)) for tick in _ticks(axes.right)),
            tuple((axes.at(0, tick)[1], _percent(tick)) for tick in _ticks(axes.top)),
        )  # fmt: skip


@dataclass(frozen=True)
class _Axes:
    """Shares from 0 to `right` across and to `top` upwards."""

    right: float
    top: float

    def at(self, sprayed: float, missed: float) -> Point:
        """The position of two shares; what is beyond the top lies on it."""
        x = LEFT + sprayed / self.right * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - min(missed / self.top, 1.0) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)


def _ends(point: CurvePoint) -> Point:
    """Ends of the interval of the missed plants; 0 and 1 where it is unknown."""
    low, high = point.plants.share_95
    return (0.0, 1.0) if low is None or high is None else (low, high)


def _path(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _ticks(end: float) -> list[float]:
    """Round shares from 0 to an end."""
    power = 10.0 ** math.floor(math.log10(end / _TICKS))
    step = next(step * power for step in (1, 2, 5, 10) if end / (step * power) <= _TICKS)
    return [number * step for number in range(math.floor(end / step + 1e-9) + 1)]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
