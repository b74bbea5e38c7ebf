"""Plots of a trial: their borders taken off, and a tidy table of what each shows."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import shapely

from agriseg.analysis.metric_grid import metric_transform
from agriseg.analysis.zonal_stats import ZonalStats
from agriseg.errors import DataError
from agriseg.legend import Legend
from agriseg.maps.reader import MaskSource
from agriseg.vectors.affine import moved
from agriseg.vectors.read import Field

COLUMNS = ("plot", "trait", "value", "unit")


def buffer_plots(plots: Sequence[Field], metres: float, source: MaskSource) -> list[Field]:
    """Plots grown by some metres on the ground, with square corners; below 0 their borders are taken off.

    Args:
        plots: in the map's CRS.
        metres: by the GSD in the middle of the map.
        source: the map.

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
    name: str, found: ZonalStats, legend: Legend, ground: Collection[int], weights: Mapping[str, float]
) -> Iterator[tuple[str, str, float | None, str]]:
    """Rows of the tidy table for one plot; a value that cannot be known is None.

    Args:
        name: of the plot.
        found: what it shows.
        legend: of the map.
        ground: ids of classes that are no plants.
        weights: class to the percent that it counts as affected.

    Yields:
        Plot, trait, value, unit.
    """
    pixels = found.pixels.astype(np.float64)
    valid, canopy = pixels.sum(), sum(pixels[k] for k in range(len(legend)) if k not in ground)
    area = None if found.square_metres is None else float(found.square_metres.sum())
    yield name, "mapped area", area, "m2"
    yield name, "mapped share", _share(valid, found.covered), "%"
    for entry in legend:
        yield name, f"{entry.name} cover", _share(pixels[entry.id], valid), "%"
    if ground:
        yield name, "canopy cover", _share(canopy, valid), "%"
    if weights:
        affected = sum(weight / 100 * pixels[legend.names.index(each)] for each, weight in weights.items())
        yield name, "severity of field", _share(affected, valid), "%"
        if ground:
            yield name, "severity of canopy", _share(affected, canopy), "%"
    confidence = found.confidence.sum() / valid if valid else None
    yield name, "mean confidence", None if confidence is None else round(float(confidence), 6), "1"


def _share(part: float, whole: float) -> float | None:
    """Percent."""
    return round(float(100 * part / whole), 6) if whole else None
