"""`agriseg train`."""

import signal
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from agriseg.errors import ModelError, OutputError, UsageError

_DEFAULT_MINUTES = 30.0


@click.command("train", short_help="Train a model on labelled images.")
@click.argument("config", required=False)
@click.option("--images", metavar="PATH", help="An image, or a folder of them.")
@click.option("--labels", metavar="PATH", help="Its label raster, or the folder of them.")
@click.option("--label-suffix", default="", metavar="TEXT", help="What a label's name adds to its image's: _mask.")
@click.option("--classes", metavar="LIST", help="Class names; their label values are 0, 1, 2, ...")
@click.option("--time", "minutes", metavar="LENGTH", help="How long to train, such as 30m or 2h.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.")
@click.option("-o", "--out", required=True, metavar="FOLDER", help="Gets the model, its scores and the state.")
@click.option("--resume", is_flag=True, help="Go on from the state in the folder.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    config: str | None, images: str | None, labels: str | None, label_suffix: str, classes: str | None,
    minutes: str | None, device: str, out: str, *, resume: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train a model on labelled images; blocks of ground are held back to score it honestly.

    \b
    Example:
      agriseg train field.toml -o weeds
      agriseg train --images field.tif --labels labels.tif --classes soil,crop,weed --time 30m -o weeds
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise OutputError(f"{folder}: holds something; add --resume to go on from it, or choose another -o")
    from agriseg.jobs.train import TrainConfig, train

    if config is not None:
        if any(value is not None for value in (images, labels, classes)):
            raise UsageError("a configuration file and --images, --labels or --classes; give one or the others")
        tables = _tables(Path(config))
        base = Path(config).parent
    elif images and labels and classes:
        data = {"images": images, "labels": labels, "label_suffix": label_suffix}
        tables, base = {"classes": classes.split(","), "data": data, "recipe": {"minutes": _DEFAULT_MINUTES}}, Path()
    else:
        raise UsageError("give a configuration file, or --images, --labels and --classes")
    if minutes is not None:
        tables["recipe"] = {**tables.get("recipe", {}), "minutes": _minutes(minutes), "steps": None}
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    trained = train(
        TrainConfig.of(tables, base), folder, device=device, tell=_Teller(quiet=quiet), stopped=lambda: bool(asked)
    )
    from agriseg.cli.show import show_evaluation

    click.echo(show_evaluation(trained.evaluation.as_dict()))
    click.echo(f"{trained.picture}\n{trained.model}")


class _Teller:
    """A line per validation, and one every ten seconds between them."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._began = self._told = time.monotonic()
        self._first: float | None = None

    def __call__(self, news: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if self._quiet:
            return
        if "miou" in news:
            iou = ", ".join(f"{name} {value:.3f}" for name, value in news["iou"].items() if value is not None)
            click.echo(
                f"step {news['step']}: mIoU {news['miou']:.3f} ({iou}){', best' if news['best'] else ''}", err=True
            )
            return
        if self._first is None:  # the labels were read before this
            self._began, self._first = now, news["done"]
        if now - self._told >= 10:
            self._told = now
            gone = max(news["done"] - self._first, 1e-9)
            left = (now - self._began) * (1 - news["done"]) / gone / 60
            click.echo(
                f"step {news['step']}: loss {news['loss']:.3f}, {news['done']:.0%}, {left:.0f} min left", err=True
            )


def _tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as TOML: {error}") from error


def _minutes(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    if unit not in "mh" or not number.replace(".", "", 1).isdigit():
        raise UsageError(f"--time {text}, expected minutes or hours, such as 30m or 2h")
    return float(number) * (60 if unit == "h" else 1)
