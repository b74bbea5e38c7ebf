"""What the same threshold sprays and misses with cells of other sizes, as other machines switch them."""

from collections.abc import Sequence
from dataclasses import dataclass

from agriseg.analysis.metric_grid import metric_transform
from agriseg.prescription.measured.curve import CurvePoint, MissCurve
from agriseg.prescription.measured.labelled_maps import LabelledMap
from agriseg.prescription.spots import SpotRule

_TIMES = (0.5, 1.0, 2.0, 4.0)  # the side of the cells
_LEAST_PIXELS = 2  # of a cell's side


@dataclass(frozen=True)
class CellSize:
    """One side of cells, in metres, and what comes of it on the labelled ground.

    Args:
        floor_sprayed: share of the field that perfect knowledge would spray to miss no more; None where these cells
            cannot miss so few.
    """

    side: float
    point: CurvePoint
    floor_sprayed: float | None


def cell_sizes(labelled: Sequence[LabelledMap], side: float, rule: SpotRule) -> tuple[CellSize, ...]:
    """Cells of half the side to four times it, by one rule; those that are smaller than two pixels are left out.

    Raises:
        DataError: as `MissCurve.of`.
    """
    pixel = max(max(plane.a, plane.e) for plane in (metric_transform(each.map) for each in labelled))
    sides = [side * times for times in _TIMES if side * times >= _LEAST_PIXELS * pixel]
    curves = [MissCurve.of(labelled, each, rule, thresholds=()) for each in sides]
    return tuple(CellSize(each, curve.chosen, curve.floor_sprayed) for each, curve in zip(sides, curves, strict=True))
