"""The layer of trial plots: their polygons without borders, and a tidy table of their traits."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import shapely

from agriseg import files
from agriseg.analysis.layer import LayerContext, LayerResult, StyledFeatures, polygon_columns, read_polygons, shapes_of
from agriseg.analysis.metric_grid import metric_transform
from agriseg.analysis.zonal_stats import ZonalStats, zonal_stats
from agriseg.errors import DataError
from agriseg.files import csv_text
from agriseg.legend import Legend
from agriseg.maps.reader import MaskSource
from agriseg.vectors.features import moved
from agriseg.vectors.qml import outline_style
from agriseg.vectors.read import Field

_COLUMNS = ("plot", "trait", "value", "unit")


def build(context: LayerContext) -> LayerResult | None:
    """Write `<stem>_plots.csv`, and add the plots with the hectares of each class."""
    options, legend = context.options, context.run.legend
    if options.plots is None:
        return None
    plots, warnings = read_polygons(context.run, "--plots", options.plots, options.plot_id)
    plots = buffer_plots(plots, options.plot_buffer, context.source)
    stats = zonal_stats(context.source, len(legend), [plot.shape for plot in plots])
    table = [
        row for plot, each in zip(plots, stats, strict=True)
        for row in plot_table(plot.name, each, legend, context.ground, context.weights)
    ]  # fmt: skip
    files.write_text(context.path("_plots.csv"), csv_text(_COLUMNS, table))
    empty = [plot.name for plot, each in zip(plots, stats, strict=True) if not each.pixels.any()]
    if empty:
        warnings.append(f"{len(empty)} plots have no mapped pixel, the first is {empty[0]!r}")
    layer = context.features("plots", shapes_of(plots), polygon_columns(plots, stats, legend))
    facts = {"plots": {"plots": len(plots), "without_a_pixel": empty}}
    return LayerResult(facts, (StyledFeatures(layer, outline_style()),), tuple(warnings))


def buffer_plots(plots: Sequence[Field], metres: float, source: MaskSource) -> list[Field]:
    """Plots grown by some metres on the ground, with square corners; below 0 their borders are taken off.

    The metres are by the GSD in the middle of the map; the plots are in its CRS.

    Raises:
        DataError: nothing is left of a plot, or the map's ground is unknown.
    """
    if not metres:
        return list(plots)
    to = metric_transform(source) @ ~source.georeference.transform
    grown = []
    for plot in plots:
        wide = shapely.buffer(moved(plot.shape, to), metres, join_style="mitre")
        if wide.is_empty:
            raise DataError(f"plot {plot.name!r}: a buffer of {metres:g} m leaves nothing of it; give a smaller one")
        grown.append(Field(plot.name, moved(wide, ~to)))
    return grown


def plot_table(
    name: str, stats: ZonalStats, legend: Legend, ground: Collection[int], weights: Mapping[str, float]
) -> Iterator[tuple[str, str, float | None, str]]:
    """Rows of the tidy table for one plot: plot, trait, value or None where unknown, unit.

    Severity is of the pixels with a class, without unsure ones.

    `ground` are the classes that are no plants, `weights` the percent by which a class counts as affected.
    """
    pixels = stats.pixels.astype(np.float64)
    valid, decided = pixels.sum(), pixels[: len(legend.decided)]
    canopy = sum(decided[k] for k in range(len(decided)) if k not in ground)
    area = None if stats.square_metres is None else float(stats.square_metres.sum())
    yield name, "mapped area", area, "m2"
    yield name, "mapped share", _share(valid, stats.covered), "%"
    for entry in legend:
        yield name, f"{entry.name} cover", _share(pixels[entry.id], valid), "%"
    if ground:
        yield name, "canopy cover", _share(canopy, valid), "%"
    if weights:
        affected = sum(weight / 100 * pixels[legend.names.index(each)] for each, weight in weights.items())
        yield name, "severity of field", _share(affected, decided.sum()), "%"
        if ground:
            yield name, "severity of canopy", _share(affected, canopy), "%"
    confidence = stats.confidence.sum() / valid if valid else None
    yield name, "mean confidence", None if confidence is None else round(float(confidence), 6), "1"


def _share(part: float, whole: float) -> float | None:
    """Percent."""
    return round(float(100 * part / whole), 6) if whole else None
