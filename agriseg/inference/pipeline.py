"""Where the bands of one process run: on Dask's threads; `workers.py` has its processes.

In one process the bands form a chain, since each carries sums to the next; reading ahead and writing behind are
tasks beside it. How far reading may run ahead is part of the graph: the reader of band k waits for the network
of band k - AHEAD, and the network for the writer of that band. So the bands in flight are few, whatever the
speeds. An edge of the graph is a reference inside the process; nothing is copied or pickled.

The graph is handed to Dask a piece at a time, so that its size does not depend on the raster either.

The network itself runs in the thread that called: OpenMP keeps a team for every thread that ever asked for one,
and waits by sleeping, 10 % slower, as soon as the teams outnumber the cores.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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

_PIECE = 64  # bands per graph
_THREADS = 3  # one reads, one waits for the network, one writes


def run_bands(
    bands: Sequence[TileRowGroup],
    read: Callable[[TileRowGroup], PixelStrip],
    infer: Callable[[TileRowGroup, PixelStrip, LogitsAccumulator | None], ClassifiedRows],
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
        desk: SimpleQueue[_Request | None] = SimpleQueue()
        *kept, carry = _serve(
            desk, _graph(bands[first : first + _PIECE], read, _at(desk, infer), write, carry), workers
        )
        yield from kept


def _graph(
    bands: Sequence[TileRowGroup],
    read: Callable[[TileRowGroup], PixelStrip],
    infer: Callable[[TileRowGroup, PixelStrip, LogitsAccumulator | None], ClassifiedRows],
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
    """A call that a task wants made in the thread that owns the network."""

    call: Callable[[], Any]
    answer: "Future[Any]" = field(default_factory=Future)

    def serve(self) -> None:
        """Make the call; its error is raised here, and the task that waits is called off."""
        try:
            self.answer.set_result(self.call())
        finally:
            self.answer.cancel()


def _at(desk: "SimpleQueue[_Request | None]", function: Callable[..., T]) -> Callable[..., T]:
    """The function, called at the desk instead of in the task's thread."""

    def ask(*given: Any) -> T:
        request = _Request(lambda: function(*given))
        desk.put(request)
        answer: T = request.answer.result()
        return answer

    return ask


def _serve(desk: "SimpleQueue[_Request | None]", tasks: list[Any], workers: int) -> list[Any]:
    """Compute the tasks with Dask in threads, answering what they ask at the desk in this thread."""
    with ThreadPoolExecutor(1, "agriseg-dask") as conductor:
        computed = conductor.submit(_compute, tasks, workers)
        computed.add_done_callback(lambda _: desk.put(None))
        requests = iter(desk.get, None)
        try:
            for request in requests:
                request.serve()
        finally:
            for request in requests:  # after an error: call off what is still asked, so that Dask ends
                request.answer.cancel()
        return computed.result()


def _compute(tasks: list[Any], workers: int) -> list[Any]:
    """Dask returns at once when a task fails; leaving the pool waits for those that still run."""
    with ThreadPoolExecutor(workers, "agriseg-task") as pool:
        return list(compute(*tasks, scheduler="threads", pool=pool))
