"""The flags of `agriseg layers`, which `agriseg run --layers` takes too."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from agriseg.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

LAYER_FLAGS = (
    "fields", "field_id", "plots", "plot_id", "plot_buffer", "mmu", "smooth", "simplify", "formats", "affected",
    "ground", "cell", "zones", "zones_by", "width", "heading", "scout", "scout_distance",
)  # fmt: skip
"""Names of the parameters that are fields of `LayerOptions`."""

_FIELDS = (
    "Boundaries (GeoJSON, Shapefile, KML, GeoPackage or one of its layers, farm.gpkg:fields); layers end there, and "
    "each field has its hectares."
)
_MMU = "Patches smaller than this, such as 0.25m2, take the class of the nearest larger one."
_AFFECTED = "Classes that are trouble, for severity and scouting: weed, or with weights: rust_low=30%,dead."
_GROUND = "Classes that are no plants, for shares of the canopy; those named soil, ground or background if not given."


def layer_options(command: F) -> F:
    """The flags that say which layers are made of a map."""
    options = [
        click.option("--fields", metavar="FILE", help=_FIELDS),
        click.option("--field-id", metavar="COLUMN", help="Names of the fields; the column 'name' if there is one."),
        click.option("--plots", metavar="FILE", help="Plots of a trial: a table of plot, trait and value."),
        click.option("--plot-id", metavar="COLUMN", help="Names of the plots."),
        click.option("--plot-buffer", metavar="LENGTH", help="Grow each plot; -0.1m leaves its border out."),
        click.option("--mmu", metavar="AREA", help=_MMU),
        click.option("--smooth", metavar="LENGTH", help="Each pixel takes the majority this far around it."),
        click.option("--simplify", metavar="LENGTH", help="Simplify outlines of polygons by at most this."),
        click.option(
            "--format", "formats", multiple=True, metavar="NAME", help="Polygons as geojson, fgb, parquet too."
        ),
        click.option("--affected", metavar="LIST", help=_AFFECTED),
        click.option("--ground", metavar="LIST", help=_GROUND),
        click.option("--cell", metavar="LENGTH", help="Side of a cell of the severity grid; 2m if not given."),
        click.option("--zones", type=click.IntRange(2, 9), metavar="N", help="Management zones, by severity."),
        click.option("--zones-by", metavar="RASTER", help="Zones by this raster, such as an index, instead."),
        click.option("--width", metavar="LENGTH", help="Working width: side of the zones' cells."),
        click.option("--heading", metavar="DEGREES", help="Of the work, clockwise from the map's top; or auto."),
        click.option("--scout", type=click.IntRange(0), metavar="N", help="Places worth a walk; 5 if not given."),
        click.option("--scout-distance", metavar="LENGTH", help="How far these lie apart at least."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def layer_flags(given: dict[str, Any]) -> dict[str, Any]:
    """Those of a command's parameters that are fields of `LayerOptions` and were given."""
    return {name: given[name] for name in LAYER_FLAGS if given.get(name) not in (None, ())}


def refuse_without_layers(chosen: dict[str, Any], *, wanted: bool) -> dict[str, Any]:
    """The flags of the layers, which mean nothing without `--layers`."""
    if chosen and not wanted:
        raise UsageError(f"--{next(iter(chosen)).replace('_', '-')} without --layers; add it to make the layers")
    return chosen
