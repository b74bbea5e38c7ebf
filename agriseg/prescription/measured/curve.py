"""What is sprayed against what is missed, over thresholds, on maps whose labels are known."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError, UsageError
from agriseg.evaluation.patches import Share
from agriseg.legend import NODATA
from agriseg.maps.reader import ROWS, FinishedMap, MapStrip, SameGrid
from agriseg.prescription.cells import Cells, Floats
from agriseg.prescription.measured.labelled_maps import LabelledMap
from agriseg.prescription.measured.missed import Floor, PlantsInCells
from agriseg.prescription.spots import SpotRule, probability_layer
from agriseg.prescription.treated import treated_cells

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
"""Of the curve; that of the prescription is added."""
_HALF = 0.5  # of a cell's ground, which must be labelled for the cell to count


@dataclass(frozen=True)
class CurvePoint:
    """One threshold, and what comes of it on the labelled ground.

    Args:
        treat_doubtful: whether doubtful pixels count as spots.
        sprayed: share of the field's ground, 0 to 1.
        plants: labelled plants that are missed, of all; with a 95 % interval.
        area: share of the plants' area that is missed, 0 to 1.
    """

    threshold: float
    treat_doubtful: bool
    sprayed: float
    plants: Share
    area: float


@dataclass(frozen=True)
class MissCurve:
    """What prescriptions with these cells spray and miss, measured on labelled maps.

    Args:
        points: from the least to the most that is sprayed.
        chosen: that of the prescription.
        floor: what perfect knowledge would spray.
        maps: names of the labelled maps.
        blocks: of ground, for the intervals.
        doubts: why the figures may be too good.
    """

    points: tuple[CurvePoint, ...]
    chosen: CurvePoint
    floor: Floor
    maps: tuple[str, ...]
    blocks: int
    doubts: tuple[str, ...]

    @classmethod
    def of(
        cls, labelled: Iterable[LabelledMap], side: float, rule: SpotRule, most_missed: float | None = None,
        thresholds: Sequence[float] = THRESHOLDS,
    ) -> "MissCurve":  # fmt: skip
        """Measure the curve for cells of `side` metres on labelled maps, one after the other.

        The chosen point is that of the rule. With `most_missed` it is the one that sprays least among those with the
        rule's way with doubtful pixels that miss at most this share of the plants, by the upper end of the interval.

        Raises:
            DataError: labels without a plant of the spot classes, or a map whose ground is unknown.
            UsageError: no threshold misses so few plants.
        """
        rules = _rules(rule, thresholds)
        names, doubts, fields, treated = [], [], [], []
        for each in labelled:
            cells = Cells.turned(each.map, side, 0.0)
            plants, allowed = _plants(each, cells, rule.spot)
            names.append(each.map.stem)
            doubts += [each.doubt] if each.doubt else []
            fields.append(plants)
            treated.append([cell & allowed for cell in _treated(each, cells, rules)])
        plants = reduce(add, fields)
        if not len(plants.pixels):
            raise DataError(
                "--validation: the labels have no plant of the classes of --spot; take labels that have some"
            )
        points = [
            _point(plants, one, np.concatenate([each[number] for each in treated])) for number, one in enumerate(rules)
        ]
        chosen = points[0] if most_missed is None else _least(points, rule, most_missed)
        by_spray = tuple(sorted(points, key=lambda point: (point.sprayed, point.threshold)))
        blocks = len(np.unique(plants.block))
        return cls(by_spray, chosen, Floor.of(plants), tuple(names), blocks, tuple(dict.fromkeys(doubts)))

    @property
    def floor_sprayed(self) -> float | None:
        """Share of the field that perfect knowledge sprays to miss no more plants than the chosen point."""
        return self.floor.sprayed_at(self.chosen.plants.share or 0.0)


@dataclass(frozen=True)
class _LabelledPart(SameGrid):
    """A map where it is labelled; 255 elsewhere."""

    source: FinishedMap
    labels: NDArray[np.uint8]

    def strips(self, rows: int = ROWS) -> Iterator[MapStrip]:
        """From top to bottom."""
        return (self._masked(strip) for strip in self.source.strips(rows))

    def read(self, start: int, stop: int) -> MapStrip:
        """Rows `[start, stop)`."""
        return self._masked(self.source.read(start, stop))

    def _masked(self, strip: MapStrip) -> MapStrip:
        unlabelled = self.labels[strip.rows.start : strip.rows.stop] == NODATA
        mask, confidence = (np.where(unlabelled, NODATA, each) for each in (strip.mask, strip.confidence))
        return MapStrip(strip.row_off, mask.astype(np.uint8), confidence.astype(np.uint8))


def _rules(rule: SpotRule, thresholds: Sequence[float]) -> list[SpotRule]:
    """The rule, and those with other thresholds and the other way with doubtful pixels."""
    others = (replace(rule, threshold=t, treat_doubtful=treat) for treat in (False, True) for t in thresholds)
    return [rule, *(each for each in others if each != rule)]


def _plants(labelled: LabelledMap, cells: Cells, spot: Iterable[int]) -> tuple[PlantsInCells, NDArray[np.bool_]]:
    """Labelled plants in their cells, and (C,) cells of which at least half is labelled."""
    width = labelled.map.width
    ground = np.zeros(cells.shape[0] * cells.shape[1])
    is_plant = np.zeros(labelled.labels.shape, bool)

    def cell_of(rows: range) -> NDArray[np.int64]:
        number = np.empty((len(rows), width), np.int64)
        for down, right, _, y, x in cells.blocks(rows, width):
            number[down, right] = _numbers(cells, y, x)
        return number

    for strip in _LabelledPart(labelled.map, labelled.labels).strips():
        rows = slice(strip.rows.start, strip.rows.stop)
        known = strip.mask != NODATA
        is_plant[rows] = known & np.isin(labelled.labels[rows], list(spot))
        for down, right, pixel_area, y, x in cells.blocks(strip.rows, width):
            numbers, counts = np.unique(_numbers(cells, y, x)[known[down, right]], return_counts=True)
            ground[numbers] += counts * pixel_area
    allowed = ground >= _HALF * cells.areas.ravel()
    return PlantsInCells.of(is_plant, cell_of, np.where(allowed, cells.areas.ravel(), 0.0)), allowed


def _numbers(cells: Cells, y: Floats, x: Floats) -> NDArray[np.int64]:
    """Number of the cell of each place, row by row."""
    return y.astype(np.int64) * cells.shape[1] + x.astype(np.int64)


def _treated(labelled: LabelledMap, cells: Cells, rules: Sequence[SpotRule]) -> Iterator[NDArray[np.bool_]]:
    """(C,) treated cells by each rule."""
    source, probabilities = _LabelledPart(labelled.map, labelled.labels), probability_layer(labelled.map)
    return (treated_cells(source, cells, rule, probabilities).ravel() for rule in rules)


def _point(plants: PlantsInCells, rule: SpotRule, treated: NDArray[np.bool_]) -> CurvePoint:
    return CurvePoint(
        rule.threshold, rule.treat_doubtful, plants.sprayed_share(treated), plants.missed_share(treated),
        plants.missed_area(treated) or 0.0,
    )  # fmt: skip


def _least(points: Sequence[CurvePoint], rule: SpotRule, most_missed: float) -> CurvePoint:
    """The point that sprays least and surely misses no more than a share of the plants."""
    own = [point for point in points if point.treat_doubtful == rule.treat_doubtful]
    enough = [point for point in own if _upper(point) <= most_missed]
    if enough:
        return min(enough, key=lambda point: point.sprayed)
    best = min(own, key=_upper)
    other = "" if rule.treat_doubtful else " with --doubtful skip; try --doubtful treat"
    raise UsageError(
        f"--max-missed {most_missed:.3g}: the best threshold, {best.threshold:g}, misses up to {_upper(best):.1%} of "
        f"the plants{other}; allow more, or take a better model or a smaller --min-area"
    )


def _upper(point: CurvePoint) -> float:
    """Upper end of the interval of the missed plants; all of them where it is unknown."""
    upper = point.plants.share_95[1]
    return 1.0 if upper is None else upper
