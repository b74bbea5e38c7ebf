"""`agriseg quickstart`."""

import shutil
import time
from pathlib import Path
from typing import Any

import click

from agriseg.cli.common.errors import resume_hint, stop_requested, warn, warn_about
from agriseg.cli.common.options import open_option, open_page, option_flags
from agriseg.cli.common.progress import Progress
from agriseg.cli.common.training_progress import TrainingProgress
from agriseg.cli.training.train import data_tables
from agriseg.files import exists_error
from agriseg.options.labels import LabelOptions
from agriseg.units import seconds

_COLUMN = "class"
_GROW = "100px"


@click.command("quickstart", short_help="From a few labels on a raster to its map, layers and report, in minutes.")
@click.argument("image", metavar="IMAGE")
@click.argument("labels", metavar="LABELS")
@click.option("--classes", required=True, metavar="LIST", help="Class names, the ground first: soil,crop,weed.")
@option_flags(LabelOptions)
@click.option("--nodata", type=float, metavar="VALUE", help="Nodata value, in addition to the one the image declares.")
@click.option("--alpha", type=click.IntRange(1), metavar="BAND", help="Number of the validity band of the image.")
@click.option(
    "--time", "length", default="5m", show_default=True, metavar="LENGTH", help="Time for all of it, such as 2m or 5m."
)
@click.option("--init", metavar="NAME|FILE", help="First weights: imagenet, random, or a model of a unet_lite0.")
@click.option("--affected", metavar="LIST", help="Affected classes, for severity and scouting: weed.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.")
@click.option("-o", "--out", required=True, metavar="FOLDER", help="Folder of the map and its model.")
@click.option("--overwrite", is_flag=True, help="Replace the map and the model of an earlier quickstart.")
@open_option
@click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings.")
def command(
    image: str, labels: str, *, length: str, init: str | None, affected: str | None, device: str, out: str,
    overwrite: bool, open_: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Learn from a few labels on a raster, then map the raster: in the given time, on this machine.

    The decoder of the network learns first, in seconds; the whole network learns for the time that mapping leaves. A
    part of the labels is held back and scores the model. The class of polygons and points is in their column 'class'
    unless --column names another, and --grow is 100px unless it is given.

    \b
    Example:
      agriseg quickstart field.tif plants.gpkg --classes soil,crop,weed -o field_map
      agriseg quickstart field.tif plants.gpkg --classes soil,weed --affected weed --time 2m -o field_map
    """
    since = time.monotonic()
    path, folder = Path(image), Path(out)
    model_folder = folder / f"{path.stem}_model"
    if model_folder.exists() and not overwrite:
        raise exists_error(model_folder)

    from agriseg.cli.common.format import show_evaluation, show_layers, show_report
    from agriseg.mapping.outputs import Outputs
    from agriseg.training.config import TrainConfig
    from agriseg.training.quickstart import train_before_map
    from agriseg.training.run import TrainOptions
    from agriseg.vectors.read import is_vector
    from agriseg.workflow import segment

    if is_vector(Path(labels)):
        flags["column"] = flags["column"] or _COLUMN
        flags["grow"] = flags["grow"] or _GROW
    tables = data_tables({**flags, "images": image, "labels": labels}) | {"recipe": {"minutes": seconds(length) / 60}}
    tables |= {} if init is None else {"init": init}
    config = TrainConfig.of(tables, Path())
    Outputs(folder, path.stem, with_probabilities=False, overwrite=overwrite).check(path)
    shutil.rmtree(model_folder, ignore_errors=True)
    options = TrainOptions(device, False, TrainingProgress(None, quiet=quiet), stop_requested(), since)
    with resume_hint(folder, "start anew with --overwrite"):
        trained = train_before_map(config, path, model_folder, options)
    click.echo(show_evaluation(trained.evaluation.scores()))
    for text in () if quiet else trained.evaluation.doubts:
        warn(text)
    reading = {"bands": config.reading.bands, "nodata": config.reading.nodata, "affected": affected}
    with Progress(path.name, quiet=quiet) as progress, resume_hint(path, f"map it with agriseg run -m {trained.model}"):
        report = segment(
            path, trained.model, folder, overwrite=overwrite, progress=progress, layers=True, lang="en", device=device,
            **reading,
        )  # fmt: skip
    warn_about(path, report.warnings, quiet=quiet)
    layers = [] if report.layers is None else [show_layers(report.layers)]
    click.echo("\n".join(map(str, (show_report(report), *layers, trained.model, *report.exports))))
    if open_:
        open_page(report.exports[0])
