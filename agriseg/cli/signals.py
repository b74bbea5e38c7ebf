"""What a run does when it is told to end: it keeps what is done, and says how to go on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from agriseg.errors import Interrupted, Terminated

_ENDS = ("SIGTERM", "SIGHUP")  # the second is not everywhere


def end_on_signals() -> None:
    """Let the signals that end a process raise `Terminated` in its main thread, where the network runs.

    One that is ignored stays so: nohup means that.
    """
    for name in _ENDS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


@contextmanager
def stoppable(image: Path) -> Iterator[None]:
    """Around a run: when it is stopped, the one line says how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"{image}: interrupted; resume with the same command") from error
    except Terminated as error:
        raise Terminated(f"{image}: {error}; resume with the same command") from error


def _end(number: int, _frame: FrameType | None) -> None:
    raise Terminated(f"told to end by {signal.Signals(number).name}")
