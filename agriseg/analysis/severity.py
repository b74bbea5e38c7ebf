"""The layer of severity: affected percent of the field and of the canopy, on a grid.

In plant pathology severity is the affected share of plant tissue, and incidence the share of affected plants. A map of
pixels shows severity. Bare soil is not tissue, so both denominators are given: the field and the canopy.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling

from agriseg import files
from agriseg.analysis.area_table import class_id
from agriseg.analysis.layer import LayerContext, LayerResult
from agriseg.analysis.metric_grid import CellGrid, blocks, row_pixel_areas
from agriseg.errors import DataError, UsageError
from agriseg.grid import Window
from agriseg.legend import NODATA, UNSURE, Legend
from agriseg.maps.reader import MaskSource
from agriseg.raster.cog import Layer
from agriseg.raster.georeference import Georeference, same_horizontal_crs
from agriseg.raster.header import RasterInfo
from agriseg.raster.qml import ramp_style
from agriseg.raster.reader import Reader, Source
from agriseg.raster.valid_mask import ValidityRule

LEAST_SHARE = 0.1
"""Of a cell's square metres that must be valid; less is no data."""
_ROWS = 512  # of a raster of numbers, read at a time
_APART = 0.5  # px that the corners of a raster and a map may lie apart


@dataclass(frozen=True)
class Severity:
    """Percent affected of each cell; `agriseg.raster.cog.RowSource`, band 1 by field and band 2 by canopy.

    Args:
        grid: the cells.
        percent: (2, rows, cols) float32, 0 to 100: of the valid ground, and of the plants; NaN is no data.
        square_metres: (rows, cols) valid in each cell, with a class.
        field, canopy: percent of the whole map, with what lies in cells of no data; NaN without any such ground.
    """

    grid: CellGrid
    percent: NDArray[np.float32]
    square_metres: NDArray[np.float64]
    field: float
    canopy: float
    bands = 2
    dtype = "float32"
    nodata = math.nan

    @classmethod
    def of(
        cls, source: MaskSource, grid: CellGrid, weights: Mapping[str, float], ground: Collection[int]
    ) -> "Severity":
        """Measure it in the cells of a map.

        Args:
            weights: class to percent of its area that counts as affected; a class that is not named counts 0. Unsure
                pixels are neither affected nor healthy, so they count as nodata.
            ground: ids of the classes that are no plants; all others are the canopy. Without any, the shares of the
                canopy are NaN.

        Raises:
            UsageError: no such class, a weight outside 0 to 100, no weight, or one of a class that is no plant.
            DataError: the map's ground is unknown, or a block cannot be decoded.
        """
        adds = _adds(source.legend, weights, ground)
        by_cell = np.zeros((*grid.shape, 3))
        other = len(source.legend)  # what is no class
        for strip in source.strips():
            areas = row_pixel_areas(source, strip.rows)[:, None]
            for cols in blocks(source.width):
                kind = np.minimum(strip.mask[:, cols.start : cols.stop], other)
                if (kind < other).any():
                    cells, by_class = grid.sums(strip.rows, cols, kind, other + 1, areas)
                    by_cell[cells] += by_class @ adds
        total = by_cell.sum((0, 1))
        few = by_cell[..., 0] < LEAST_SHARE * grid.side**2
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, no data
            percent = np.stack([by_cell[..., 2] / by_cell[..., whole] for whole in (0, 1)])
            field, canopy = total[2] / total[:2]
        percent[:, few] = math.nan
        if not ground:
            percent[1] = canopy = math.nan
        return cls(grid, percent.astype(np.float32), by_cell[..., 0].copy(), float(field), float(canopy))

    @property
    def height(self) -> int:
        """Rows of cells."""
        return self.grid.shape[0]

    @property
    def width(self) -> int:
        """Columns of cells."""
        return self.grid.shape[1]

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows `[start, stop)` of cells, (2, stop - start, width)."""
        return self.percent[:, start:stop]


def build(context: LayerContext) -> LayerResult | None:
    """Write `<stem>_severity.tif` and its style; the facts are percent of the field and of the canopy."""
    if not context.weights:
        return None
    grid = CellGrid.over(context.source, context.options.cell)
    severity = Severity.of(context.source, grid, context.weights, context.ground)
    no_ground = "no class is named soil, ground or background: no shares of the canopy; say --ground"
    bands = ("affected share of the field, %", "affected share of the canopy, %")
    context.write_raster(Layer("severity", grid.georeference, bands, Resampling.average), severity)
    worst = np.nanmax(severity.percent[0], initial=0)
    files.write_text(context.path("_severity.qml"), ramp_style(0.0, float(worst), greener=False))
    unsure = f"severity is of the ground with a class; {UNSURE} pixels are left out of it, and of zones by it"
    warnings = [*([] if context.ground else [no_ground]), *([unsure] if context.run.legend.has_unsure else [])]
    known = (None if math.isnan(percent) else percent for percent in (severity.field, severity.canopy))
    return LayerResult({"severity": SeverityPercent(*known)}, warnings=tuple(warnings))


@dataclass(frozen=True)
class SeverityPercent:
    """Affected percent of the whole map, by field and by canopy; None where unknown."""

    field_percent: float | None
    canopy_percent: float | None


def mean_of(path: Path, source: MaskSource, grid: CellGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of a raster of numbers, such as an index, in each cell of a map, over the map's valid pixels.

    The first band of the raster counts. It covers the ground of the map, in pixels of any size.

    Returns:
        (rows, cols) means over the ground, NaN is no data; (rows, cols) square metres that they are of.

    Raises:
        DataError: the raster does not cover the same ground or cannot be read, or the map's ground is unknown.
    """
    info = RasterInfo.read(path)
    _check_ground(info, source)
    by_cell = np.zeros((*grid.shape, 2))
    with Reader(Source(info, (1,), ValidityRule.of(info), source.width, source.height)) as reader:
        for strip in source.strips(_ROWS):
            areas = row_pixel_areas(source, strip.rows)[:, None]
            numbers = reader.read(Window(0, strip.row_off, source.width, len(strip.mask)))
            valid = numbers.valid & (strip.mask != NODATA)
            for cols in blocks(source.width):
                part = slice(cols.start, cols.stop)
                if (here := valid[:, part]).any():
                    value = np.where(here, numbers.pixels[0, :, part], 0).astype(np.float64)
                    for index, weight in enumerate((areas, areas * value)):
                        cells, sums = grid.sums(strip.rows, cols, here.view(np.uint8), 2, weight)
                        by_cell[(*cells, index)] += sums[..., 1]
    with np.errstate(invalid="ignore"):
        mean = by_cell[..., 1] / by_cell[..., 0]
    mean[by_cell[..., 0] < LEAST_SHARE * grid.side**2] = math.nan
    return mean, by_cell[..., 0].copy()


def _adds(legend: Legend, weights: Mapping[str, float], ground: Collection[int]) -> NDArray[np.float64]:
    """What a square metre of each class adds, (K + 1, 3): to the field, to the canopy, percent to the affected."""
    adds = np.zeros((len(legend) + 1, 3))
    adds[:-1, :2] = 1
    adds[list(ground), 1] = 0
    if legend.unsure is not None:
        adds[legend.unsure] = 0
    if not any(weights.values()):
        raise UsageError("no class is affected, so there is no severity; name one, such as weed or rust=30%")
    for name, percent in weights.items():
        k = class_id(legend, name, "severity")
        if not 0 <= percent <= 100:
            raise UsageError(f"{name}={percent:g}%, expected 0 to 100 percent of its area that counts as affected")
        if percent and k in ground:
            raise UsageError(f"{name} is ground and no plant, so it cannot be affected; leave it out of one of the two")
        adds[k, 2] = percent
    return adds


def _check_ground(info: RasterInfo, source: MaskSource) -> None:
    """Refuse a raster whose corners are not those of the map."""
    there, here = info.georeference, source.georeference
    corners = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    cols, rows = ~here.transform @ (there.transform @ (corners[0] * info.width, corners[1] * info.height))
    apart = np.hypot(cols - corners[0] * source.width, rows - corners[1] * source.height).max()
    if not _same_crs(here, there) or not apart <= _APART:
        raise DataError(f"{info.path}: does not cover the ground of the map, as it should; make it from the same image")


def _same_crs(here: Georeference, there: Georeference) -> bool:
    if here.crs is None or there.crs is None:
        return here.crs is there.crs
    return same_horizontal_crs(here.crs, there.crs, [here.transform @ (0, 0), here.transform @ (1, 1)])
