"""Progress of a training on stderr, and its curves for TensorBoard."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agriseg.cli.common.errors import warn
from agriseg.errors import UsageError
from agriseg.training.progress import DataWarning, FoldStarted, Note, Progress, StepDone, ValidationDone

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_BETWEEN_LINES = 10.0  # seconds between progress lines


class TrainingProgress:
    """Prints a line for each validation, and every ten seconds between them; plots the same for TensorBoard."""

    def __init__(self, board: "SummaryWriter | None", *, quiet: bool) -> None:
        self._board = board
        self._quiet = quiet
        self._first: StepDone | None = None  # of this process
        self._began = self._printed = 0.0

    def __call__(self, progress: Progress) -> None:
        """Print and plot."""
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


def tensorboard_writer(folder: Path) -> "SummaryWriter":
    """A writer of curves in a folder of this one; UsageError if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard, but it is not installed; pip install tensorboard") from error
    return SummaryWriter(folder / "tensorboard")
