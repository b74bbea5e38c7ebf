"""`agriseg train`."""

import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import warn
from agriseg.cli.common.label_options import LabelFlags, class_names, label_options, label_values, renamed
from agriseg.cli.common.signals import resume_hint, stop_requested
from agriseg.errors import ModelError, OutputError, UsageError
from agriseg.training.progress import DataWarning, FoldStarted, Note, Progress, StepDone, ValidationDone
from agriseg.units import seconds

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from agriseg.training.run import Trained

_DEFAULT_MINUTES = 30.0
_BETWEEN_LINES = 10.0  # seconds from one progress line to the next


@dataclass(frozen=True)
class _DataFlags:
    """Flags that name images and labels in place of a configuration file."""

    images: str | None
    labels: str | None
    classes: str | None
    nodata: float | None
    alpha: int | None
    label_flags: LabelFlags

    def tables(self) -> dict[str, Any]:
        """These flags as tables of a configuration; empty if none is given."""
        flags = self.label_flags
        data = {
            "images": self.images, "labels": self.labels, "label_suffix": flags.label_suffix, "column": flags.column,
            "area": flags.area, "rest": flags.rest, "point_radius": flags.point_radius, "nodata": self.nodata,
            "alpha": self.alpha, "unlabelled": label_values("--unlabelled", flags.unlabelled),
            "rename": None if flags.rename is None else dict(renamed(flags.rename)),
        }  # fmt: skip
        tables = {
            "classes": list(class_names(self.classes)) if self.classes else None,
            "values": label_values("--values", flags.values),
            "data": {name: value for name, value in data.items() if value is not None} or None,
        }
        return {name: value for name, value in tables.items() if value is not None}


@dataclass(frozen=True)
class _Overrides:
    """Flags that replace keys of the configuration."""

    arch: str | None
    minutes: str | None
    split: str | None
    reproject_labels: bool

    def tables(self) -> dict[str, dict[str, Any]]:
        """The keys of each table."""
        recipe = {} if self.minutes is None else {"minutes": seconds(self.minutes) / 60, "steps": None}
        validation = {} if self.split is None else {"by": self.split}
        data = {"reproject_labels": True} if self.reproject_labels else {}
        return {"recipe": recipe, "validation": validation, "data": data}


@click.command("train", short_help="Train a model on labelled images.")
@click.argument("settings", metavar="[CONFIG]", required=False)
@click.option("--image", "--images", "images", metavar="PATH", help="An image, or a folder of them.")
@click.option("--labels", metavar="PATH", help="Label raster, polygons or annotations; or the folder of them.")
@label_options
@click.option("--classes", metavar="LIST", help="Class names in order, such as soil,crop,weed.")
@click.option("--nodata", type=float, metavar="VALUE", help="Means no data in images, beside what they declare.")
@click.option("--alpha", type=click.IntRange(1), metavar="BAND", help="Band of the images whose 0 means no data.")
@click.option("--arch", metavar="NAME", help="Network, see agriseg model list; unet_small if not given.")
@click.option("--init", metavar="NAME|FILE|URL", help="Start from imagenet or coco weights, a file of them, a model.")
@click.option("--time", "minutes", metavar="LENGTH", help="How long to train, such as 30m or 2h.")
@click.option("--split", type=click.Choice(["block", "file", "random"]), help="What is held back; random flatters.")
@click.option("--folds", type=click.IntRange(2), metavar="N", help="Hold back each of N parts in turn: N trainings.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.")
@click.option("-o", "--out", required=True, metavar="FOLDER", help="Gets the model, its card, scores and the state.")
@click.option("--resume", is_flag=True, help="Go on from the state in the folder.")
@click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read, and list them.")
@click.option("--tensorboard", is_flag=True, help="Also write the curves for TensorBoard; pip install tensorboard.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings.")
def command(
    settings: str | None, images: str | None, labels: str | None, classes: str | None, nodata: float | None,
    alpha: int | None, arch: str | None, init: str | None, minutes: str | None, split: str | None, folds: int | None,
    device: str, out: str, *, label_flags: LabelFlags, resume: bool, skip_bad: bool, tensorboard: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train a model on labelled images; blocks of ground are held back to score it honestly.

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
        raise OutputError(f"{folder}: holds something; add --resume to go on from it, or choose another -o")
    data = _DataFlags(images, labels, classes, nodata, alpha, label_flags)
    tables, base = _tables(settings, data, _Overrides(arch, minutes, split, label_flags.reproject_labels))
    printer = _ProgressPrinter(_board(folder) if tensorboard and not helper else None, quiet=quiet)
    stopped = stop_requested()

    from agriseg.cli.common.format import show_evaluation
    from agriseg.training.config import TrainConfig
    from agriseg.training.run import TrainOptions, cross_validate, train, train_rank

    chosen = TrainConfig.of(tables, base)
    if init is not None:
        chosen = chosen.model_copy(update={"init": init})
    options = TrainOptions(device, skip_bad, printer, stopped)
    if helper:
        train_rank(chosen, folder, options)
        return
    with resume_hint(folder, "add --resume to go on from there"):
        if folds is None:
            trained = [train(chosen, folder, options)]
            evaluation = trained[0].evaluation
        else:
            trained, evaluation = cross_validate(chosen, folder, folds, options)
    for text in [] if quiet else [*_warnings(chosen.split, trained), *evaluation.doubts]:
        warn(text)
    click.echo(show_evaluation(evaluation.scores()))
    for each in trained:
        click.echo("\n".join(map(str, (*each.pictures, each.model.with_suffix(".md"), each.model))))


def _warnings(split: str, trained: "Sequence[Trained]") -> list[str]:
    """Skipped images, and a split that flatters the scores."""
    warnings = [f"left out: {text}" for text in sorted({text for each in trained for text in each.skipped})]
    if split == "random":
        warnings.append(
            "scattered squares beside the training data were held back; on other ground expect lower scores"
        )
    return warnings


class _ProgressPrinter:
    """Prints a line for each validation, and every ten seconds between them; plots the same for TensorBoard."""

    def __init__(self, board: "SummaryWriter | None", *, quiet: bool) -> None:
        self._board = board
        self._quiet = quiet
        self._first: StepDone | None = None  # of this session
        self._began = self._printed = 0.0

    def __call__(self, progress: Progress) -> None:
        self._plot(progress)
        if self._quiet:
            return
        match progress:
            case FoldStarted(fold, folds):
                self._first = None
                click.echo(f"fold {fold} of {folds}", err=True)
            case DataWarning(text):
                warn(text)
            case Note(text):
                click.echo(f"agriseg: {text}", err=True)
            case ValidationDone():
                iou = ", ".join(f"{name} {value:.3f}" for name, value in progress.iou.items() if value is not None)
                best = ", best" if progress.best else ""
                click.echo(f"step {progress.step}: mIoU {progress.miou:.3f} ({iou}){best}", err=True)
            case StepDone():
                self._print_step(progress)

    def _print_step(self, step: StepDone) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._began, self._printed = step, now, now
        if now - self._printed >= _BETWEEN_LINES:
            self._printed = now
            rate = max(step.done - self._first.done, 1e-9) / (now - self._began)
            left = (1 - step.done) / rate / 60
            click.echo(f"step {step.step}: loss {step.loss:.3f}, {step.done:.0%}, {left:.0f} min left", err=True)

    def _plot(self, progress: Progress) -> None:
        match progress:
            case StepDone():
                numbers = {"loss": progress.loss, "lr": progress.lr}
            case ValidationDone():
                iou = {f"iou/{name}": value for name, value in progress.iou.items() if value is not None}
                numbers = {"loss": progress.loss, "miou": progress.miou, **iou}
            case _:
                return
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, progress.step)


def _board(folder: Path) -> "SummaryWriter":
    """TensorBoard's writer."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard, but it is not installed; pip install tensorboard") from error
    return SummaryWriter(folder / "tensorboard")


def _tables(config: str | None, data: _DataFlags, overrides: _Overrides) -> tuple[dict[str, Any], Path]:
    """Tables of the configuration, and the folder that its paths are relative to."""
    tables, base = _written(config, data)
    if overrides.arch is not None:
        tables["arch"] = overrides.arch
    for name, keys in overrides.tables().items():
        if keys:
            tables[name] = {**tables.get(name, {}), **keys}
    return tables, base


def _written(config: str | None, data: _DataFlags) -> tuple[dict[str, Any], Path]:
    """Read the configuration file, or the flags in its place."""
    if config is None:
        if not (data.images and data.labels and data.classes):
            raise UsageError("give a configuration file, or --image, --labels and --classes")
        return {**data.tables(), "recipe": {"minutes": _DEFAULT_MINUTES}}, Path()
    if data.tables():
        raise UsageError("a configuration file and flags that say what to train on; give one or the others")
    path = Path(config)
    try:
        return tomllib.loads(path.read_text("utf-8")), path.parent
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as TOML: {error}") from error
