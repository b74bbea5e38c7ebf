"""`agriseg train`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import resume_hint, stop_requested, warn
from agriseg.cli.common.options import chosen, option_flags, parse, split_commas
from agriseg.cli.common.training_progress import TrainingProgress, tensorboard_writer
from agriseg.errors import OutputError, UsageError
from agriseg.options.labels import LabelOptions
from agriseg.options.table import read_toml
from agriseg.units import seconds

if TYPE_CHECKING:
    from agriseg.training.run import Trained

_DEFAULT_MINUTES = 30.0


@click.command("train", short_help="Train a model on labelled images.")
@click.argument("settings", metavar="[CONFIG]", required=False)
@click.option("--image", "--images", "images", metavar="PATH", help="An image, or a folder of images.")
@click.option("--labels", metavar="PATH", help="Label raster, polygons or annotations, or the folder of them.")
@option_flags(LabelOptions)
@click.option("--classes", metavar="LIST", help="Class names in order, such as soil,crop,weed.")
@click.option("--nodata", type=float, metavar="VALUE", help="Nodata value, in addition to the one the images declare.")
@click.option("--alpha", type=click.IntRange(1), metavar="BAND", help="Number of the validity band of the images.")
@click.option("--arch", metavar="NAME", help="Network of 'agriseg model list'; default unet_lite0.")
@click.option("--init", metavar="NAME|FILE|URL", help="First weights: imagenet, coco, random, a file, a model.")
@click.option("--time", "minutes", metavar="LENGTH", help="Duration of the training, such as 30m or 2h.")
@click.option(
    "--split",
    type=click.Choice(["block", "file", "random"]),
    help="Unit of the held-back labels; random overstates the scores.",
)
@click.option(
    "--folds", type=click.IntRange(2), metavar="N", help="Cross-validate: N trainings, each holds back another part."
)
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.")
@click.option(
    "-o", "--out", required=True, metavar="FOLDER", help="Folder of the model, its card, the scores and the state."
)
@click.option("--resume", is_flag=True, help="Resume from the state in the folder.")
@click.option("--skip-bad", is_flag=True, help="Skip images that cannot be read, and list them.")
@click.option("--tensorboard", is_flag=True, help="Also write the curves for TensorBoard (pip install tensorboard).")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings.")
def command(
    settings: str | None, init: str | None, folds: int | None, device: str, out: str, *, resume: bool, skip_bad: bool,
    tensorboard: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Train a model on labelled images. Blocks of the images are held back from the training, to score the model.

    \b
    Example:
      agriseg train field.toml -o weeds
      agriseg train --image field.tif --labels labels.tif --classes soil,crop,weed --time 30m -o weeds
      agriseg train --image field.tif --labels weeds.gpkg --column class --classes soil,weed -o weeds
      torchrun --nproc-per-node 2 -m agriseg train field.toml -o weeds
    """
    from agriseg.training.distributed import is_helper_rank

    folder, helper = Path(out), is_helper_rank()
    if not helper and folder.exists() and any(folder.iterdir()) and not resume:
        raise OutputError(f"{folder}: is not empty; add --resume to resume from it, or choose another -o")
    tables, base = _tables(settings, flags)
    printer = TrainingProgress(tensorboard_writer(folder) if tensorboard and not helper else None, quiet=quiet)
    stopped = stop_requested()

    from agriseg.cli.common.format import show_evaluation
    from agriseg.training.config import TrainConfig
    from agriseg.training.run import TrainOptions, cross_validate, train, train_rank

    config = TrainConfig.of(tables, base)
    if init is not None:
        config = config.model_copy(update={"init": init})
    options = TrainOptions(device, skip_bad, printer, stopped)
    if helper:
        train_rank(config, folder, options)
        return
    with resume_hint(folder, "resume with --resume"):
        if folds is None:
            trained = [train(config, folder, options)]
            evaluation = trained[0].evaluation
        else:
            trained, evaluation = cross_validate(config, folder, folds, options)
    for text in [] if quiet else [*_warnings(config.split, trained), *evaluation.doubts]:
        warn(text)
    click.echo(show_evaluation(evaluation.scores()))
    for each in trained:
        click.echo("\n".join(map(str, (*each.pictures, each.model.with_suffix(".md"), each.model))))


def _warnings(split: str, trained: "Sequence[Trained]") -> list[str]:
    """Skipped images, and a split that overstates the scores."""
    warnings = [f"skipped: {text}" for text in sorted({text for each in trained for text in each.skipped})]
    random = "the held-back squares lie among the training data; expect lower scores on other fields"
    return [*warnings, random] if split == "random" else warnings


def _tables(path: str | None, flags: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
    """Tables of the configuration, and the folder that its paths are relative to.

    They are those of the file, or of the flags that name images and labels. Other flags replace keys.
    """
    tables, folder = data_tables(flags), Path()
    if path is None:
        if not (flags["images"] and flags["labels"] and flags["classes"]):
            raise UsageError("give a configuration file, or --image, --labels and --classes")
        tables["recipe"] = {"minutes": _DEFAULT_MINUTES}
    elif tables:
        raise UsageError("a configuration file and flags that say what to train on; give one or the others")
    else:
        tables, folder = read_toml(Path(path)), Path(path).parent
    if flags["arch"] is not None:
        tables["arch"] = flags["arch"]
    if flags["minutes"] is not None:
        minutes = seconds(flags["minutes"]) / 60
        tables["recipe"] = {**tables.get("recipe", {}), "minutes": minutes, "steps": None}
    if flags["split"] is not None:
        tables["validation"] = {**tables.get("validation", {}), "by": flags["split"]}
    if flags["reproject_labels"]:
        tables["data"] = {**tables.get("data", {}), "reproject_labels": True}
    return tables, folder


def data_tables(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of the flags that name images and labels in place of a configuration file; empty without any."""
    labels = parse(LabelOptions, flags)
    data = {name: flags[name] for name in ("images", "labels", "nodata", "alpha") if flags[name] is not None}
    values = {name: getattr(labels, name) for name in chosen(LabelOptions, flags)}
    data |= {name: value for name, value in values.items() if name not in ("values", "rename", "reproject_labels")}
    if labels.rename:
        data["rename"] = dict(labels.rename)
    classes = list(split_commas(flags["classes"])) if flags["classes"] else None
    tables = {"classes": classes, "values": labels.values, "data": data or None}
    return {name: value for name, value in tables.items() if value is not None}
