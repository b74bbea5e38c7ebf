"""`agriseg train`."""

import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.label_options import class_names, label_options, label_values, renamed
from agriseg.cli.common.options import warn
from agriseg.cli.common.signals import resume_hint, stop_requested
from agriseg.errors import ModelError, OutputError, UsageError
from agriseg.units import seconds

if TYPE_CHECKING:
    from agriseg.training.run import Trained

_DEFAULT_MINUTES = 30.0
_DATA = ("images", "labels", "label_suffix", "column", "area", "rest", "point_radius", "nodata", "alpha")


@click.command("train", short_help="Train a model on labelled images.")
@click.argument("config", required=False)
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
    config: str | None, init: str | None, folds: int | None, device: str, out: str, *, resume: bool, skip_bad: bool,
    tensorboard: bool, quiet: bool, **given: Any,
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
    tables, base = _tables(config, given)
    teller = _Teller(_board(folder) if tensorboard and not helper else None, quiet=quiet)
    asked = stop_requested()

    from agriseg.cli.common.format import show_evaluation
    from agriseg.training.config import TrainConfig
    from agriseg.training.run import cross_validate, train, train_rank

    how: dict[str, Any] = {"device": device, "skip_bad": skip_bad, "stopped": asked}
    chosen = TrainConfig.of(tables, base)
    if init is not None:
        chosen = chosen.model_copy(update={"init": init})
    if helper:
        train_rank(chosen, folder, **how)
        return
    how["tell"] = teller
    with resume_hint(folder, "add --resume to go on from there"):
        if folds is None:
            trained = [train(chosen, folder, **how)]
            evaluation = trained[0].evaluation
        else:
            trained, evaluation = cross_validate(chosen, folder, folds, **how)
    for text in [] if quiet else [*_doubts(chosen.split, trained), *evaluation.doubts]:
        warn(text)
    click.echo(show_evaluation(evaluation.scores()))
    for each in trained:
        click.echo("\n".join(map(str, (*each.pictures, each.model.with_suffix(".md"), each.model))))


def _doubts(split: str, trained: "Sequence[Trained]") -> list[str]:
    """What a reader should know before trusting the scores."""
    said = [f"left out: {text}" for text in sorted({text for each in trained for text in each.skipped})]
    if split == "random":
        said.append("scattered squares beside the training data were held back; on other ground expect lower scores")
    return said


class _Teller:
    """A line per validation, and one every ten seconds between them; the same for TensorBoard."""

    def __init__(self, board: Any, *, quiet: bool) -> None:
        self._board = board
        self._quiet = quiet
        self._began = self._told = time.monotonic()
        self._first: float | None = None

    def __call__(self, news: Mapping[str, Any]) -> None:
        if self._board is not None and "step" in news:
            self._plot(news)
        if self._quiet:
            return
        if "fold" in news:
            self._first = None
            click.echo(f"fold {news['fold']} of {news['folds']}", err=True)
        elif "remark" in news:
            warn(news["remark"])
        elif "note" in news:
            click.echo(f"agriseg: {news['note']}", err=True)
        elif "miou" in news:
            iou = ", ".join(f"{name} {value:.3f}" for name, value in news["iou"].items() if value is not None)
            best = ", best" if news["best"] else ""
            click.echo(f"step {news['step']}: mIoU {news['miou']:.3f} ({iou}){best}", err=True)
        else:
            self._step(news)

    def _step(self, news: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if self._first is None:  # the labels were read before this
            self._began = self._told = now
            self._first = news["done"]
        if now - self._told >= 10:
            self._told = now
            gone = max(news["done"] - self._first, 1e-9)
            left = (now - self._began) * (1 - news["done"]) / gone / 60
            click.echo(
                f"step {news['step']}: loss {news['loss']:.3f}, {news['done']:.0%}, {left:.0f} min left", err=True
            )

    def _plot(self, news: Mapping[str, Any]) -> None:
        numbers = {name: news[name] for name in ("loss", "rate", "miou") if name in news}
        numbers |= {f"iou/{name}": value for name, value in news.get("iou", {}).items() if value is not None}
        for name, value in numbers.items():
            self._board.add_scalar(name, value, news["step"])


def _board(folder: Path) -> Any:
    """TensorBoard's writer."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard, but it is not installed; pip install tensorboard") from error
    return SummaryWriter(folder / "tensorboard")


def _tables(config: str | None, given: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
    """The configuration as tables, from a file or from flags, and the folder its paths are seen from."""
    tables, base = _written(config, given)
    flags: dict[str, dict[str, Any]] = {"data": {}, "validation": {}, "recipe": {}}
    if given["minutes"] is not None:
        flags["recipe"] = {"minutes": seconds(given["minutes"]) / 60, "steps": None}
    if given["split"] is not None:
        flags["validation"] = {"by": given["split"]}
    if given["reproject_labels"]:
        flags["data"] = {"reproject_labels": True}
    if given["arch"] is not None:
        tables = {**tables, "arch": given["arch"]}
    return {**tables, **{name: {**tables.get(name, {}), **flag} for name, flag in flags.items() if flag}}, base


def _written(config: str | None, given: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
    """The configuration file, or what the flags say in its place."""
    data = {name: given[name] for name in _DATA if given[name] is not None}
    values = {"values": label_values("--values", given["values"])} if given["values"] is not None else {}
    if given["unlabelled"] is not None:
        data["unlabelled"] = label_values("--unlabelled", given["unlabelled"])
    if given["rename"] is not None:
        data["rename"] = dict(renamed(given["rename"]))
    if config is not None:
        if data or values or given["classes"]:
            raise UsageError("a configuration file and flags that say what to train on; give one or the others")
        path = Path(config)
        try:
            return tomllib.loads(path.read_text("utf-8")), path.parent
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read as TOML: {error}") from error
    if not (given["images"] and given["labels"] and given["classes"]):
        raise UsageError("give a configuration file, or --image, --labels and --classes")
    names = list(class_names(given["classes"]))
    return {"classes": names, **values, "data": data, "recipe": {"minutes": _DEFAULT_MINUTES}}, Path()
