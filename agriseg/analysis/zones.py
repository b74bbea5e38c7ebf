"""The layer of management zones: cells grouped by their values, for one rate of application in each zone."""

from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray

from agriseg.analysis.layer import LayerContext, LayerResult, ReportTable, StyledFeatures, TableColumn
from agriseg.analysis.metric_grid import CellGrid, field_heading
from agriseg.analysis.record import LayersRecord, json_values
from agriseg.analysis.severity import Severity, mean_of
from agriseg.errors import DataError, UsageError
from agriseg.legend import Legend
from agriseg.raster.qml import ramp_colours
from agriseg.units import HECTARE
from agriseg.vectors.features import moved
from agriseg.vectors.qml import categorized_style

MAX_ZONES = 9
_STEPS = 2000  # to which the range of the values is rounded
_ROUNDING = 1e-5  # of the largest value: what lies closer is equal


@dataclass(frozen=True)
class Zone:
    """A row of the table.

    Args:
        name: `zone 1` and so on.
        number: from 1, the zone of the lowest values.
        cells: in it.
        hectares: valid ground in them.
        mean: of the values, each counted by its ground.
        low, high: ends of their range.
    """

    name: str
    number: int
    cells: int
    hectares: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Zones:
    """Cells by zone: `number` (rows, cols) is the uint8 zone of each cell, 0 for none; `table` has a row a zone."""

    grid: CellGrid
    number: NDArray[np.uint8]
    table: tuple[Zone, ...]

    @classmethod
    def of(
        cls, grid: CellGrid, values: NDArray[np.floating], square_metres: NDArray[np.float64], count: int = 3
    ) -> "Zones":
        """Group cells, so that the values in each zone lie as near to their mean as they can.

        Values are rounded to a 2000th of their range for it, and their means count by ground.

        Args:
            values: (rows, cols) of any unit, NaN for cells without.
            square_metres: (rows, cols) valid ground of each cell.

        Raises:
            UsageError: fewer than 2 zones, or more than `MAX_ZONES`.
            DataError: fewer distinct values than zones.
        """
        if not 2 <= count <= MAX_ZONES:
            raise UsageError(f"{count} zones, expected 2 to {MAX_ZONES}")
        known = np.isfinite(values) & (square_metres > 0)
        value, weight = values[known].astype(np.float64), square_metres[known]
        steps = _rounded(value)
        number = np.zeros(grid.shape, np.uint8)
        number[known] = 1 + np.searchsorted(natural_breaks(steps, weight, count), steps)
        of_cell = number[known]
        table = (_row(zone, value[of_cell == zone], weight[of_cell == zone]) for zone in range(1, count + 1))
        return cls(grid, number, tuple(table))

    def shapes(self) -> NDArray[np.object_]:
        """(zones,) multipolygons in the map's CRS: the squares of each zone's cells, dissolved."""
        pieces: list[list[shapely.Polygon]] = [[] for _ in self.table]
        for piece, zone in rasterio.features.shapes(self.number, self.number > 0, connectivity=4):
            pieces[int(zone) - 1].append(shapely.geometry.shape(piece))
        shapes = np.array([shapely.MultiPolygon(each) for each in pieces], object)
        return moved(shapes, self.grid.georeference.transform)


def build(context: LayerContext) -> LayerResult | None:
    """Add the zones as polygons; their cells are aligned with the heading of the work."""
    options, source = context.options, context.source
    if not options.zones:
        return None
    heading = field_heading(source) if options.heading == "auto" else float(options.heading)
    grid = CellGrid.over(source, options.width or options.cell, heading)
    if options.zones_by is not None:
        values, square_metres = mean_of(options.zones_by, source, grid)
    else:
        severity = Severity.of(source, grid, context.weights, context.ground)
        values, square_metres = severity.percent[0].astype(np.float64), severity.square_metres
    zones = Zones.of(grid, values, square_metres, options.zones)
    rows, names = json_values(zones.table), [zone.name for zone in zones.table]
    legend = Legend.from_names(names, ramp_colours(len(names), greener=bool(options.zones_by)))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    layer = context.features("zones", zones.shapes(), columns)
    return LayerResult({"zones": zones.table}, (StyledFeatures(layer, categorized_style(legend, "name")),))


def recorded_zones(record: LayersRecord) -> tuple[Zone, ...]:
    """The zones; empty without any."""
    return record.fact("zones", tuple[Zone, ...]) or ()


def report_table(record: LayersRecord) -> ReportTable | None:
    """The zones, a row each; None without zones."""
    zones = recorded_zones(record)
    if not zones:
        return None
    columns = (
        TableColumn("Zone", text="zone {number}"), TableColumn("Area", "ha"), TableColumn("Mean"), TableColumn("From"),
        TableColumn("To"),
    )  # fmt: skip
    rows = tuple((zone.number, zone.hectares, zone.mean, zone.low, zone.high) for zone in zones)
    return ReportTable("Zones", columns, rows)


def natural_breaks(values: NDArray[np.float64], weights: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Highest value of each class but the last, ascending, of classes with the least squared distance to their means.

    They are known as Jenks' natural breaks. Values and weights are (N,), finite; the weights are above 0. Dynamic
    programming finds the best classes (Fisher 1958, "On grouping for maximum homogeneity", JASA 53). It takes some
    0.1 s for 2,000 distinct values and three classes, and grows with their square.

    Raises:
        DataError: fewer distinct values than classes.
    """
    distinct, which = np.unique(values, return_inverse=True)
    if len(distinct) < count:
        raise DataError(
            f"{count} zones, but the cells have {len(distinct)} distinct values; ask for fewer, or for none"
        )
    weight = np.bincount(which, weights).astype(np.float64)
    x = distinct - distinct @ weight / weight.sum()  # around 0, where squares are exact
    sums = np.cumsum([weight, weight * x, weight * x * x], axis=1)
    cuts = _least_squares(np.pad(sums, ((0, 0), (1, 0))), count)
    return np.asarray(distinct[np.array(cuts) - 1])


def _least_squares(sums: NDArray[np.float64], count: int) -> list[int]:
    """Where classes begin, but the first; `sums` (3, N + 1) are of weight, value and square over the first 0 to N."""
    n = sums.shape[1] - 1
    best = np.array([_squares(sums, slice(0, 1), stop)[0] for stop in range(1, n + 1)])  # of one class up to each
    begins = np.zeros((count, n), np.intp)
    for classes in range(1, count):
        shorter, best = best, np.full(n, np.inf)
        for stop in range(classes + 1, n + 1):  # the last class begins at `classes` at least
            total = shorter[classes - 1 : stop - 1] + _squares(sums, slice(classes, stop), stop)
            begins[classes, stop - 1] = classes + total.argmin()
            best[stop - 1] = total.min()
    cuts, stop = [], n
    for classes in range(count - 1, 0, -1):
        stop = int(begins[classes, stop - 1])
        cuts.append(stop)
    return cuts[::-1]


def _squares(sums: NDArray[np.float64], starts: slice, stop: int) -> NDArray[np.float64]:
    """Squared distance to their mean of those from each start up to `stop`."""
    weight, value, square = sums[:, stop, None] - sums[:, starts]
    return np.asarray(square - value * value / weight)


def _rounded(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole steps above the lowest; rounding errors are no steps."""
    if not len(value):
        return value
    lowest = value.min()
    step = max(np.ptp(value) / _STEPS, _ROUNDING * np.abs(value).max())
    return np.asarray(np.round((value - lowest) / step)) if step else np.zeros_like(value)


def _row(zone: int, value: NDArray[np.float64], weight: NDArray[np.float64]) -> Zone:
    hectares = float(weight.sum()) / HECTARE
    mean = float(value @ weight / weight.sum())
    return Zone(f"zone {zone}", zone, len(value), hectares, mean, float(value.min()), float(value.max()))
