"""Signals that end a process: the work that is done is kept, and a message says how to resume."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from agriseg.errors import Interrupted, Terminated

_SIGNALS = ("SIGTERM", "SIGHUP")  # the second is not everywhere


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
