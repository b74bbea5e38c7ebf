"""Stages of a run, and the clock that sums the seconds of each."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from threading import Lock


class Stage(StrEnum):
    """A part of a run. The network's thread does one after the other; two are done beside it."""

    WAIT = "wait"
    NORMALISE = "normalise"
    NETWORK = "network"
    KEEP = "keep"
    STITCH = "stitch"
    CLASSIFY = "classify"
    HASH = "hash"
    WRITE = "write"
    VERIFY = "verify"
    PICTURES = "pictures"
    READ = "read"
    STORE = "store"

    @property
    def text(self) -> str:
        """What it is, for a table."""
        return _TEXTS[self]

    @property
    def is_beside(self) -> bool:
        """Whether other threads do it while the network runs."""
        return self in (Stage.READ, Stage.STORE)


_TEXTS = {
    Stage.WAIT: "wait for other threads",
    Stage.NORMALISE: "normalise the tiles",
    Stage.NETWORK: "network",
    Stage.KEEP: "keep logits, to resume",
    Stage.STITCH: "blend",
    Stage.CLASSIFY: "upsample and classify",
    Stage.HASH: "hash the raster",
    Stage.WRITE: "write the layers",
    Stage.VERIFY: "read them back",
    Stage.PICTURES: "pictures",
    Stage.READ: "read and decode",
    Stage.STORE: "count and store rows",
}

Clock = Callable[[Stage], AbstractContextManager[object]]
"""Gives a context whose wall-clock time counts for a stage."""


def untimed(_stage: Stage) -> AbstractContextManager[object]:
    """A clock that measures nothing."""
    return nullcontext()


class StageClock:
    """A `Clock` that sums seconds by stage; any thread may use it."""

    def __init__(self) -> None:
        self._seconds: dict[Stage, float] = {}
        self._lock = Lock()

    @contextmanager
    def __call__(self, stage: Stage) -> Iterator[None]:
        """A context whose time counts for a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - began})

    def add(self, seconds: Mapping[Stage, float]) -> None:
        """Add the seconds of another clock, such as that of a worker process."""
        with self._lock:
            for stage, spent in seconds.items():
                self._seconds[stage] = self._seconds.get(stage, 0.0) + spent

    @property
    def seconds(self) -> dict[Stage, float]:
        """Seconds so far, in the order of the stages; those that were never entered are left out."""
        with self._lock:
            return {stage: self._seconds[stage] for stage in Stage if stage in self._seconds}
