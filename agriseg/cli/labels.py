"""`agriseg labels check` and `agriseg labels rasterize`."""

from pathlib import Path

import click

from agriseg.cli.options import label_values
from agriseg.errors import DataError, OutputError, UsageError
from agriseg.json_text import json_line


@click.group("labels", short_help="Look at labels before training; polygons to label rasters.")
def command() -> None:
    """Look at labels before training; burn polygons onto an image's grid."""


@command.command("check")
@click.argument("images")
@click.argument("labels")
@click.option("--classes", required=True, metavar="LIST", help="Class names in order, such as soil,crop,weed.")
@click.option(
    "--values", metavar="LIST", help="Each class's number or #rrggbb in the labels; 0, 1, 2, ... if not given."
)
@click.option("--label-suffix", default="", metavar="TEXT", help="What a label's name adds to its image's: _mask.")
@click.option("--column", metavar="NAME", help="Class column, when LABELS are polygons.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    images: str, labels: str, classes: str, values: str | None, label_suffix: str, column: str | None, *, as_json: bool
) -> None:
    """Say what is wrong with labels: grids, numbers that are no class, class shares; of polygons, overlaps and such.

    Exit code 65 if a training would refuse them.

    \b
    Example:
      agriseg labels check images masks --label-suffix _mask --classes soil,crop,weed
      agriseg labels check field.tif field.gpkg --column class --classes crop,weed
    """
    from agriseg.jobs.labels import Findings, check_polygons, check_rasters
    from agriseg.legend import Legend
    from agriseg.training.pairs import find_pairs

    names = [name.strip() for name in classes.split(",")]
    if column is not None:
        remarks = check_polygons(Path(images), Path(labels), column, Legend.from_names(names))
        found = Findings((), tuple(remarks), {}, 0)
    else:
        numbers = label_values(values, len(names))
        found = check_rasters(find_pairs(Path(images), Path(labels), label_suffix), names, numbers)
    if as_json:
        click.echo(json_line(found.as_dict()))
    else:
        labelled = sum(found.pixels.values())
        for name, pixels in found.pixels.items():
            click.echo(f"  {name:20} {pixels / max(1, labelled):8.2%} {pixels:>14,} px")
        if found.pixels:
            click.echo(f"  {'nobody knows':20} {'':8} {found.ignored:>14,} px")
        for text in (*found.remarks, *found.problems):
            click.echo(f"  {text}")
        if not (found.remarks or found.problems):
            click.echo("  nothing to complain of")
    if found.problems:
        raise DataError(f"{labels}: {len(found.problems)} problems, first: {found.problems[0]}")


@command.command("rasterize")
@click.argument("image")
@click.argument("polygons")
@click.option("--column", required=True, metavar="NAME", help="Column of the polygons that holds class names.")
@click.option("--classes", required=True, metavar="LIST", help="Class names in order; the first is the background.")
@click.option("--area", metavar="FILE", help="Polygons within which all was labelled: the rest there is background.")
@click.option("-o", "--out", required=True, metavar="FILE", help="The GeoTIFF to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def rasterize(
    image: str, polygons: str, column: str, classes: str, area: str | None, out: str, *, overwrite: bool
) -> None:
    """Burn labelled polygons onto an image's grid; where no polygon is, nobody knows (255).

    \b
    Example:
      agriseg labels rasterize field.tif field.gpkg --column class --classes soil,crop,weed -o labels.tif
    """
    path = Path(out)
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists and is not overwritten; add --overwrite or choose another -o")
    if path.resolve() in (Path(image).resolve(), Path(polygons).resolve()):
        raise UsageError(f"-o {path} is an input; choose another")
    from agriseg.jobs.labels import burn
    from agriseg.legend import Legend

    legend = Legend.from_names([name.strip() for name in classes.split(",")])
    counts = burn(Path(image), Path(polygons), column, legend, path, area=Path(area) if area else None)
    for name, pixels in zip(legend.names, counts.tolist(), strict=True):
        click.echo(f"  {name:20} {pixels:>14,} px")
    click.echo(path)
