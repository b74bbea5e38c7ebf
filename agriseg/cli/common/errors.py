"""Errors, warnings and signals of commands: one line on stderr, an exit code, and how to resume."""

import io
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TextIO

import click

from agriseg.errors import DEBUG, Interrupted, Terminated, exit_code_and_message

_LONGEST = 300
_SIGNALS = ("SIGTERM", "SIGHUP")  # the second is not everywhere


class ProcessEdge:
    """A context that prints every error as one line on stderr and exits with its code.

    Warnings of libraries are not printed: a user cannot act on them. With AGRISEG_DEBUG=1 in the environment they are,
    and the traceback of an error too.
    """

    def __enter__(self) -> None:
        if sys.stdout.isatty():
            sys.stdout = _Printable(sys.stdout)
        if not os.environ.get(DEBUG):
            warnings.showwarning = _drop_warning  # filters stay: tests turn warnings into errors
            logging.lastResort = logging.NullHandler()  # would print what libraries log
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        if os.environ.get(DEBUG):
            traceback.print_exception(error)
        code, text = _code_and_message(error)
        with suppress(OSError):  # the disk of stderr may be full; the exit code remains
            click.echo(one_line(f"agriseg: error: {text}"), err=True)
            sys.stderr.flush()
        raise SystemExit(code)


def _code_and_message(error: BaseException) -> tuple[int, str]:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return 2, "no command; choose one of those above"
    if isinstance(error, click.ClickException):
        return error.exit_code, f"{error.format_message()} See 'agriseg --help'."
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return 130, "interrupted; nothing was written"
    return exit_code_and_message(error)


def _drop_warning(*_: object, **__: object) -> None:
    """Ignore a warning of a library."""


class _Printable(io.TextIOWrapper):
    """A terminal that prints control characters in names of files escaped."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__(terminal.buffer, terminal.encoding, terminal.errors, line_buffering=True)

    def write(self, text: str) -> int:
        return super().write("\n".join(map(printable, text.split("\n"))))


def printable(text: str) -> str:
    """Text with control characters escaped, line ends too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Text as one printable line of at most 300 characters."""
    line = printable(text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def warn(text: str) -> None:
    """Print a warning as one line on stderr."""
    click.echo(one_line(f"agriseg: warning: {text}"), err=True)


def warn_about(path: Path, texts: Iterable[str], *, quiet: bool) -> None:
    """Print warnings about a file, unless `quiet`."""
    for text in () if quiet else texts:
        warn(f"{path}: {text}")


def end_on_signals() -> None:
    """Let the signals that end a process raise `Terminated` in its main thread, where the network runs."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise Terminated(f"ended by {signal.Signals(number).name}")

    _handle(end)


def stop_requested() -> Callable[[], bool]:
    """Record the signals that end a process; the function returns whether one has come."""
    received: list[int] = []
    _handle(lambda number, _frame: received.append(number))
    return lambda: bool(received)


@contextmanager
def resume_hint(what: Path, how: str = "resume with the same command") -> Iterator[None]:
    """A context that adds to the message of a stopped command how to resume it."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"{what}: interrupted; {how}") from error
    except Terminated as error:
        raise Terminated(f"{what}: {error}; {how}") from error


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    """Handle the signals that end a process, but not those that are ignored, as with nohup."""
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
