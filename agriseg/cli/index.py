"""`agriseg index`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import end_on_signals, resume_hint, warn_about
from agriseg.cli.common.options import option_flags, parse
from agriseg.json_text import json_line
from agriseg.options.index import IndexOptions

if TYPE_CHECKING:
    from agriseg.maps.index_maps import IndexLayer


def _show_list(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Print all indices and sensors, and leave."""
    if not value or ctx.resilient_parsing:
        return
    from agriseg.vegetation.formulas import INDICES
    from agriseg.vegetation.sensors import SENSORS

    for index in INDICES.values():
        click.echo(f"  {index.name:6} {index.long_name}: {index.range}; greener is {_way(index.greener)}")
        click.echo(f"         {index.formula}   {index.reference}")
    click.echo("sensors, and their bands in order:")
    for sensor in SENSORS.values():
        scale = "" if sensor.scale is None else f"; 16-bit reflectance is 1 at {1 / sensor.scale:.0f}"
        click.echo(f"  {sensor.name:10} {','.join(sensor.roles)} ({sensor.title}{scale})")
        click.echo(f"             {sensor.source}")
    ctx.exit()


@click.command("index", short_help="Vegetation indices of a raster: NDVI, GLI, ... as GeoTIFFs.")
@click.argument("image", metavar="IMAGE")
@click.option("--index", "names", required=True, metavar="LIST", help="Indices by short name: ndvi,gli; see --list.")
@click.option("-o", "--out", metavar="FOLDER", help="Folder of the outputs; default <stem>_agriseg.")
@option_flags(IndexOptions)
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="No warnings.")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_show_list,
    help="Print all indices with their formulas, and all sensors.",
)  # fmt: skip
def command(
    image: str, names: str, out: str | None, *, overwrite: bool, as_json: bool, quiet: bool, **flags: Any
) -> None:
    """Write vegetation indices of a raster: <stem>_ndvi.tif with float32 numbers, and a QGIS style. No network runs.

    \b
    Example:
      agriseg index field.tif --index gli,exg -o maps
      agriseg index ortho.tif --index ndvi,ndrei --sensor m3m
      agriseg index s2.tif --index savi --bands red=1,nir=4 --scale 0.0001 --nodata 0
      agriseg index --list
    """
    end_on_signals()
    from agriseg.mapping.outputs import default_folder
    from agriseg.maps.index_maps import write_indices

    path = Path(image)
    folder = default_folder(path) if out is None else Path(out)
    with resume_hint(path, "run the same command again"):
        report = write_indices(path, names.split(","), folder, parse(IndexOptions, flags), overwrite=overwrite)
    warn_about(path, report.warnings, quiet=quiet)
    if as_json:
        layers = [layer.as_dict() for layer in report.layers]
        click.echo(json_line({"indices": layers, "warnings": list(report.warnings)}))
    else:
        click.echo("\n".join(map(_shown, report.layers)))


def _shown(layer: "IndexLayer") -> str:
    numbers, bands = layer.summary, ", ".join(f"{role} {number}" for role, number in layer.bands.items())
    return (
        f"  {layer.index.name:6} min {numbers.minimum:.4g}, median {numbers.median:.4g}, max {numbers.maximum:.4g}; "
        f"no data {numbers.nodata:.2%}; bands {bands}; {layer.units.text}; greener is {_way(layer.index.greener)}\n"
        f"{layer.path}\n{layer.style}"
    )


def _way(greener: bool) -> str:
    return "higher" if greener else "lower"
