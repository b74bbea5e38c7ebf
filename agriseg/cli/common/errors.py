"""The edge of the process: whatever goes wrong becomes one line and an exit code."""

import io
import logging
import os
import sys
import traceback
import warnings
from contextlib import suppress
from types import TracebackType
from typing import TextIO

import click

from agriseg.errors import DEBUG, exit_code_and_message

_LONGEST = 300


class ProcessEdge:
    """A context that turns every error into one line on stderr and leaves with its code.

    What libraries warn of is not printed: it names lines of their source, and nothing that a user could do.
    With AGRISEG_DEBUG=1 in the environment it is, and the traceback of an error as well.
    """

    def __enter__(self) -> None:
        if sys.stdout.isatty():
            sys.stdout = _Shown(sys.stdout)
        if not os.environ.get(DEBUG):
            warnings.showwarning = _unheard  # filters stay as they are: tests make errors of warnings
            logging.lastResort = logging.NullHandler()  # prints what a library logs that nobody listens to
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SystemExit):
            return
        if os.environ.get(DEBUG):
            traceback.print_exception(error)
        code, text = _verdict(error)
        with suppress(OSError):  # the place where stderr goes may be the one that fails; the code still tells
            click.echo(one_line(f"agriseg: error: {text}"), err=True)
            sys.stderr.flush()
        raise SystemExit(code)


def _verdict(error: BaseException) -> tuple[int, str]:
    """Exit code and message of an error."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return 2, "no command; choose one of those above"
    if isinstance(error, click.ClickException):
        return error.exit_code, f"{error.format_message()} See 'agriseg --help'."
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return 130, "interrupted; nothing was written"
    return exit_code_and_message(error)


def _unheard(*_: object, **__: object) -> None:
    """A warning of a library."""


class _Shown(io.TextIOWrapper):
    """A terminal that shows the names of files and obeys none of them."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__(terminal.buffer, terminal.encoding, terminal.errors, line_buffering=True)

    def write(self, text: str) -> int:
        return super().write("\n".join(map(printable, text.split("\n"))))


def printable(text: str) -> str:
    """Text with control characters escaped, those that end lines too."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Text as one printable line of at most 300 characters."""
    line = printable(text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def warn(text: str) -> None:
    """A line on stderr that does not stop the command."""
    click.echo(one_line(f"agriseg: warning: {text}"), err=True)
