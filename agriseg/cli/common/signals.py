"""What a run or a training does when it is told to end: it keeps what is done, and says how to go on."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from agriseg.errors import Interrupted, Terminated

_ENDS = ("SIGTERM", "SIGHUP")  # the second is not everywhere


def end_on_signals() -> None:
    """Let the signals that end a process raise `Terminated` in its main thread, where the network runs."""
    _handle(_end)


def stop_requested() -> Callable[[], bool]:
    """Let the signals that end a process be noted; whether one has come."""
    asked: list[int] = []
    _handle(lambda number, _frame: asked.append(number))
    return lambda: bool(asked)


@contextmanager
def resume_hint(what: Path, how: str = "resume with the same command") -> Iterator[None]:
    """Around a run or a training: when it is stopped, the one line says how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"{what}: interrupted; {how}") from error
    except Terminated as error:
        raise Terminated(f"{what}: {error}; {how}") from error


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    """Handle the signals that end; one that is ignored stays so: nohup means that."""
    for name in _ENDS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    raise Terminated(f"told to end by {signal.Signals(number).name}")
