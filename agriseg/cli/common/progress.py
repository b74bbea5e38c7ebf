"""Progress of a command: a bar on a terminal, a line per 5 % in a log."""

import sys
import time
from types import TracebackType

import click

from agriseg.cli.common.errors import one_line

_SHARE = 0.05


class Progress:
    """Shows the number of finished `unit` of all, with the time left. Use it as a context and call it."""

    def __init__(self, label: str, *, quiet: bool, unit: str = "tiles") -> None:
        self._label = one_line(label)
        self._unit = unit
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._next = _SHARE

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal and not self._quiet:
            click.echo("\r\033[K", nl=False, err=True)

    def __call__(self, done: int, total: int) -> None:
        """Show a state; the thread that runs the network calls this."""
        share = done / total
        if self._quiet or (not self._terminal and share < self._next):
            return
        self._next = share + _SHARE
        left = (time.monotonic() - self._began) * (1 - share) / share
        text = f"{self._label}: {share:4.0%}, {done} of {total} {self._unit}, {_clock(left)} left"
        if self._terminal:
            bar = "█" * round(20 * share)
            click.echo(f"\r\033[K{text} {bar:░<20}", nl=False, err=True)
        else:
            click.echo(text, err=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
