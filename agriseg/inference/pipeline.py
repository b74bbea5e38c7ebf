"""Runs the bands of one process as Dask tasks on threads; `workers.py` has processes.

Bands form a chain in one process, because each gives its carry to the next. A band is read ahead and written behind.
The graph limits both: the reader of band k waits for the network of band k - AHEAD, and the network for the writer of
that band. So few bands are in memory, however fast each stage is. Tasks pass references inside the process; nothing is
copied or pickled. Dask gets the graph in pieces, so its size does not depend on the raster either.

The network runs in the thread of the caller. OpenMP keeps a team for every thread that ever used it, and waits by
sleeping, 10 % slower, once there are more teams than cores.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

import dask.config
from dask.base import compute
from dask.delayed import delayed

from agriseg.blend import LogitsAccumulator
from agriseg.inference.plan import AHEAD, TileRowGroup
from agriseg.inference.predict import ClassifiedRows
from agriseg.raster.reader import PixelStrip

T = TypeVar("T")
Infer = Callable[[TileRowGroup, PixelStrip, LogitsAccumulator | None], ClassifiedRows]

_PIECE = 64  # bands per graph
_THREADS = 3  # one reads, one waits for the network, one writes


def run_bands(
    bands: Sequence[TileRowGroup],
    read: Callable[[TileRowGroup], PixelStrip],
    infer: Infer,
    write: Callable[[ClassifiedRows], T],
    threads: int | None = None,
) -> Iterator[T]:
    """Run bands in order on Dask's threaded scheduler.

    Args:
        bands: from the top of the raster to its bottom.
        read: pixels of a band; runs ahead.
        infer: the network, the fold and the decision; runs for one band at a time, in order, in this thread.
        write: stores what was decided and returns what is to be kept of it; runs behind.
        threads: Dask threads; None takes Dask's own setting `num_workers`, or 3.

    Yields:
        What `write` returned, in the order of the bands.
    """
    workers = threads or dask.config.get("num_workers", None) or _THREADS
    carry: LogitsAccumulator | None = None
    for first in range(0, len(bands), _PIECE):
        requests: SimpleQueue[_Request | None] = SimpleQueue()
        tasks = _graph(bands[first : first + _PIECE], read, _ask(requests), write, carry)
        with ThreadPoolExecutor(1, "agriseg-dask") as conductor:
            computed = conductor.submit(_compute, tasks, workers, requests)
            waiting = iter(requests.get, None)
            try:
                for request in waiting:
                    with request.cancelled_on_error():
                        request.answer.set_result(infer(request.band, request.strip, request.carry))
            finally:  # after an error, so that Dask ends
                for request in waiting:
                    request.answer.cancel()
            *written, carry = computed.result()
        yield from written


def _graph(
    bands: Sequence[TileRowGroup],
    read: Callable[[TileRowGroup], PixelStrip],
    infer: Infer,
    write: Callable[[ClassifiedRows], T],
    carry: LogitsAccumulator | None,
) -> list[Any]:
    """Tasks that write the bands, and the one that gives the last band's carry."""

    def after(task: Callable[..., Any]) -> Callable[..., Any]:
        """As a Dask task that also waits for its last argument."""
        waiting: Callable[..., Any] = delayed(lambda *given: task(*given[:-1]), pure=False, traverse=False)
        return waiting

    read_task, infer_task = after(read), after(infer)
    write_task, carry_task = delayed(write, pure=False), delayed(_carry, pure=False)
    above: Any = carry
    carried: list[Any] = []
    written: list[Any] = []
    for index, band in enumerate(bands):
        strip = read_task(band, carried[index - AHEAD] if index >= AHEAD else None)
        decided = infer_task(band, strip, above, written[index - AHEAD] if index >= AHEAD else None)
        above = carry_task(decided)
        carried.append(above)
        written.append(write_task(decided))
    return [*written, above]


def _carry(decided: ClassifiedRows) -> LogitsAccumulator | None:
    return decided.carry


@dataclass(frozen=True)
class _Request:
    """A band whose task waits for the thread that runs the network."""

    band: TileRowGroup
    strip: PixelStrip
    carry: LogitsAccumulator | None
    answer: "Future[ClassifiedRows]" = field(default_factory=Future)

    @contextmanager
    def cancelled_on_error(self) -> Iterator[None]:
        """Cancel the task that waits if there is an error."""
        try:
            yield
        finally:
            self.answer.cancel()


def _ask(requests: "SimpleQueue[_Request | None]") -> Infer:
    """A function for tasks, which lets the thread that takes the requests run the network."""

    def ask(band: TileRowGroup, strip: PixelStrip, carry: LogitsAccumulator | None) -> ClassifiedRows:
        request = _Request(band, strip, carry)
        requests.put(request)
        return request.answer.result()

    return ask


def _compute(tasks: list[Any], workers: int, requests: "SimpleQueue[_Request | None]") -> list[Any]:
    """Results of the tasks; then the last request, None. After an error, waits for the tasks that still run."""
    try:
        with ThreadPoolExecutor(workers, "agriseg-task") as pool:
            return list(compute(*tasks, scheduler="threads", pool=pool))
    finally:
        requests.put(None)
