"""`agriseg labels check` and `agriseg labels rasterize`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import warn
from agriseg.cli.common.options import option_flags, parse, split_commas
from agriseg.errors import UsageError
from agriseg.files import exists_error
from agriseg.json_text import json_line
from agriseg.options.labels import LabelOptions

if TYPE_CHECKING:
    from agriseg.labels.label_set import LabelSet


@click.group("labels", short_help="Check labels; rasterize polygons and annotations.")
def command() -> None:
    """Check labels before training; rasterize polygons or annotations on the grid of an image."""


@command.command("check")
@click.argument("images")
@click.argument("labels")
@click.option("--classes", required=True, metavar="LIST", help="Class names in order, such as soil,crop,weed.")
@option_flags(LabelOptions)
@click.option("--picture", metavar="PATH", help="Show the labels on the image: a PNG, or a folder of them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(images: str, labels: str, classes: str, *, picture: str | None, as_json: bool, **flags: Any) -> None:
    """Check labels: grids, values that are no class, class shares; overlaps of polygons; what clicks became.

    Exits with 65 if a training would refuse them; it makes the same checks.

    \b
    Example:
      agriseg labels check images masks --label-suffix _mask --classes soil,crop,weed
      agriseg labels check field.tif field.gpkg --column class --classes crop,weed
      agriseg labels check photos annotations.json --classes soil,crop,weed --rest soil
      agriseg labels check field.tif clicks.gpkg --column class --classes soil,crop,weed --grow 20cm --picture seen.png
    """
    from agriseg.labels.label_set import LabelRequest
    from agriseg.labels.loading import load_labels

    request = LabelRequest(Path(images), Path(labels), split_commas(classes), parse(LabelOptions, flags))
    with tempfile.TemporaryDirectory(prefix="agriseg-") as spare:
        label_set = load_labels(request, Path(spare))
        if picture is not None:
            _save_pictures(Path(picture), label_set)
    click.echo(_json(label_set) if as_json else _table(label_set))
    label_set.refuse()


def _save_pictures(path: Path, label_set: "LabelSet") -> None:
    """One PNG of a single raster, or one of each image in a folder, named like the image."""
    from agriseg import files
    from agriseg.labels.shown import save_shown

    if label_set.request.images.is_file():
        for each in label_set.images:
            save_shown(path, each, label_set.request.classes)
        return
    files.make_folder(path)
    for each in label_set.images:
        save_shown(path / f"{each.pair.image.stem}.png", each, label_set.request.classes)


def _json(label_set: "LabelSet") -> str:
    """Pixels of each class and image, clicks, and all messages, as one JSON object."""
    from dataclasses import asdict

    files = [
        {
            "image": str(each.pair.image), "labels": str(each.pair.source),
            "pixels": dict(zip(label_set.request.classes, each.survey.pixels.tolist(), strict=True)),
            "ignored": each.survey.ignored,
        }
        for each in label_set.images
    ]  # fmt: skip
    values = {name: getattr(label_set, name) for name in ("problems", "remarks", "pixels", "ignored")}
    clicks = {name: asdict(count) for name, count in label_set.clicks.items()}
    return json_line(values | {"clicks": clicks, "files": files})


def _table(label_set: "LabelSet") -> str:
    """Pixels and share of each class, remarks and problems."""
    labelled = max(1, sum(label_set.pixels.values()))
    lines = [f"  {name:20} {pixels / labelled:8.2%} {pixels:>14,} px" for name, pixels in label_set.pixels.items()]
    lines.append(f"  {'unlabelled':20} {'':8} {label_set.ignored:>14,} px")
    lines += [f"  {name:20} {count.text}" for name, count in label_set.clicks.items()]
    texts = (*label_set.remarks, *label_set.problems) or ("no remarks and no problems",)
    return "\n".join([*lines, *(f"  {text}" for text in texts)])


@command.command("rasterize")
@click.argument("image")
@click.argument("labels")
@click.option("--classes", required=True, metavar="LIST", help="Class names in order, such as soil,crop,weed.")
@option_flags(LabelOptions)
@click.option("-o", "--out", required=True, metavar="FILE", help="The GeoTIFF to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def rasterize(image: str, labels: str, classes: str, out: str, *, overwrite: bool, **flags: Any) -> None:
    """Draw polygons or annotations on the grid of an image; pixels without any are unlabelled (255).

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

    request = LabelRequest(Path(image), Path(labels), split_commas(classes), parse(LabelOptions, flags))
    drawn = label_raster(request.images, request.labels, request, path)
    for text in drawn.remarks:
        warn(f"{labels}: {text}")
    for name, pixels in zip(request.classes, drawn.pixels.tolist(), strict=True):
        click.echo(f"  {name:20} {pixels:>14,} px")
    click.echo(path)
