"""`agriseg labels check` and `agriseg labels rasterize`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import warn
from agriseg.cli.common.options import class_names, option_flags, parse
from agriseg.errors import UsageError
from agriseg.files import exists_error
from agriseg.json_text import json_line
from agriseg.options.labels import LabelOptions

if TYPE_CHECKING:
    from agriseg.labels.label_set import LabelSet


@click.group("labels", short_help="Look at labels before training; polygons to label rasters.")
def command() -> None:
    """Check labels before training; rasterize polygons or annotations on the grid of an image."""


@command.command("check")
@click.argument("images")
@click.argument("labels")
@click.option("--classes", required=True, metavar="LIST", help="Class names in order, such as soil,crop,weed.")
@option_flags(LabelOptions)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(images: str, labels: str, classes: str, *, as_json: bool, **flags: Any) -> None:
    """Say what is wrong with labels: grids, numbers that are no class, class shares; of polygons, overlaps and such.

    Exit code 65 if a training would refuse them: both look at labels with the same function.

    \b
    Example:
      agriseg labels check images masks --label-suffix _mask --classes soil,crop,weed
      agriseg labels check field.tif field.gpkg --column class --classes crop,weed
      agriseg labels check photos annotations.json --classes soil,crop,weed --rest soil
    """
    from agriseg.labels.label_set import LabelRequest
    from agriseg.labels.loading import load_labels

    request = LabelRequest(Path(images), Path(labels), class_names(classes), parse(LabelOptions, flags))
    with tempfile.TemporaryDirectory(prefix="agriseg-") as spare:
        found = load_labels(request, Path(spare))
    click.echo(_json(found) if as_json else _table(found))
    found.refuse()


def _json(found: "LabelSet") -> str:
    """Pixels of each class and image, and all messages, as one JSON object."""
    files = [
        {
            "image": str(each.pair.image), "labels": str(each.pair.source),
            "pixels": dict(zip(found.request.classes, each.survey.pixels.tolist(), strict=True)),
            "ignored": each.survey.ignored,
        }
        for each in found.images
    ]  # fmt: skip
    return json_line({
        "problems": found.problems, "remarks": found.remarks, "pixels": found.pixels, "ignored": found.ignored,
        "files": files,
    })  # fmt: skip


def _table(found: "LabelSet") -> str:
    """Pixels and share of each class, and what is odd."""
    labelled = sum(found.pixels.values())
    lines = [f"  {name:20} {pixels / max(1, labelled):8.2%} {pixels:>14,} px" for name, pixels in found.pixels.items()]
    lines.append(f"  {'nobody knows':20} {'':8} {found.ignored:>14,} px")
    lines += [f"  {text}" for text in (*found.remarks, *found.problems)]
    if not (found.remarks or found.problems):
        lines.append("  nothing to complain of")
    return "\n".join(lines)


@command.command("rasterize")
@click.argument("image")
@click.argument("labels")
@click.option("--classes", required=True, metavar="LIST", help="Class names in order, such as soil,crop,weed.")
@option_flags(LabelOptions)
@click.option("-o", "--out", required=True, metavar="FILE", help="The GeoTIFF to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def rasterize(image: str, labels: str, classes: str, out: str, *, overwrite: bool, **flags: Any) -> None:
    """Burn polygons or annotations onto an image's grid; where none is, nobody knows (255).

    \b
    Example:
      agriseg labels rasterize field.tif field.gpkg --column class --classes soil,crop,weed -o labels.tif
      agriseg labels rasterize photo.jpg coco.json --classes soil,crop,weed --rest soil -o labels.tif
    """
    path = Path(out)
    if path.exists() and not overwrite:
        raise exists_error(path)
    if path.resolve() in (Path(image).resolve(), Path(labels).resolve()):
        raise UsageError(f"-o {path} is an input; choose another")
    from agriseg.labels.label_set import LabelRequest
    from agriseg.labels.loading import label_raster

    request = LabelRequest(Path(image), Path(labels), class_names(classes), parse(LabelOptions, flags))
    drawn = label_raster(request.images, request.labels, request, path)
    for text in drawn.remarks:
        warn(f"{labels}: {text}")
    for name, pixels in zip(request.classes, drawn.pixels.tolist(), strict=True):
        click.echo(f"  {name:20} {pixels:>14,} px")
    click.echo(path)
