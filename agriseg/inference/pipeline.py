"""Runs the bands of one process as Dask tasks on threads; `workers.py` has processes.

Bands form a chain in one process, because each gives its carry to the next. A band is read ahead and written behind.
The graph limits both: the reader of band k waits for the network of band k - AHEAD, and the network for the writer of
that band. So few bands are in memory, however fast each stage is. Tasks pass references inside the process; nothing is
copied or pickled. Dask gets the graph in pieces, so its size does not depend on the raster either.

The network runs in the thread of the caller. OpenMP keeps a team for every thread that ever used it, and waits by
sleeping, 10 % slower, once there are more teams than cores. Ctrl-C may end that thread between any two of its steps:
what it exchanges with the tasks goes through queues, whose `put` and `get` are done or not done, and a task that waits
for it always gets an end.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from operator import attrgetter
from queue import SimpleQueue
from typing import Any, TypeVar

import dask.config
from dask.base import compute
from dask.delayed import delayed

from agriseg.blend import LogitsAccumulator
from agriseg.inference.plan import AHEAD, TileRowGroup
from agriseg.inference.predict import ClassifiedRows
from agriseg.raster.reader import PixelStrip
from agriseg.timing.stages import Clock, Stage, untimed

T = TypeVar("T")
Infer = Callable[[TileRowGroup, PixelStrip, LogitsAccumulator | None], ClassifiedRows]
_Request = tuple[TileRowGroup, PixelStrip, LogitsAccumulator | None]
"""What the network is to do for a task."""
_Requests = SimpleQueue[_Request | None]
"""One at a time, because each needs the carry of the one before; then None."""
_Results = SimpleQueue[ClassifiedRows | None]
"""One for each request; None when the network does no more."""

_PIECE = 64  # bands per graph
_THREADS = 3  # one reads, one waits for the network, one writes


def run_bands(
    bands: Sequence[TileRowGroup],
    read: Callable[[TileRowGroup], PixelStrip],
    infer: Infer,
    write: Callable[[ClassifiedRows], T],
    threads: int | None = None,
    clock: Clock = untimed,
) -> Iterator[T]:
    """Run bands, from the top of the raster to its bottom, on Dask's threaded scheduler; yields what `write` returns.

    `read` runs ahead and `write` behind. `infer` runs for one band at a time, in order, in this thread.
    Without `threads`, Dask's own setting `num_workers` decides, or 3. `clock` gets the time in which this thread waits.
    """
    workers = threads or dask.config.get("num_workers", None) or _THREADS
    carry: LogitsAccumulator | None = None
    for first in range(0, len(bands), _PIECE):
        requests, results = _Requests(), _Results()
        tasks = _graph(bands[first : first + _PIECE], read, _requesting(requests, results), write, carry)
        with ThreadPoolExecutor(1, "agriseg-dask") as conductor:
            try:
                computed = conductor.submit(_compute, tasks, workers, requests)
                for request in iter(partial(_next, requests, clock), None):
                    results.put(infer(*request))
            finally:
                results.put(None)  # after an error, so that the task that waits ends
            with clock(Stage.WAIT):
                *written, carry = computed.result()
        yield from written


def _next(requests: _Requests, clock: Clock) -> _Request | None:
    """The next request for the network; None after the last one."""
    with clock(Stage.WAIT):
        return requests.get()


def _graph(
    bands: Sequence[TileRowGroup],
    read: Callable[[TileRowGroup], PixelStrip],
    infer: Infer,
    write: Callable[[ClassifiedRows], T],
    carry: LogitsAccumulator | None,
) -> list[Any]:
    """Tasks that write the bands, and one that returns the last band's carry."""

    def after(task: Callable[..., Any]) -> Callable[..., Any]:
        """As a Dask task that also waits for its last argument."""
        waiting: Callable[..., Any] = delayed(lambda *args: task(*args[:-1]), pure=False, traverse=False)
        return waiting

    read_task, infer_task = after(read), after(infer)
    write_task, carry_task = delayed(write, pure=False), delayed(attrgetter("carry"), pure=False)
    above: Any = carry
    carried: list[Any] = []
    written: list[Any] = []
    for index, band in enumerate(bands):
        strip = read_task(band, carried[index - AHEAD] if index >= AHEAD else None)
        classified = infer_task(band, strip, above, written[index - AHEAD] if index >= AHEAD else None)
        above = carry_task(classified)
        carried.append(above)
        written.append(write_task(classified))
    return [*written, above]


def _requesting(requests: _Requests, results: _Results) -> Infer:
    """A function for tasks that lets the thread of the network do the work, and waits for the result."""

    def request(band: TileRowGroup, strip: PixelStrip, carry: LogitsAccumulator | None) -> ClassifiedRows:
        requests.put((band, strip, carry))
        result = results.get()
        if result is None:
            raise CancelledError
        return result

    return request


def _compute(tasks: list[Any], workers: int, requests: _Requests) -> list[Any]:
    """Results of the tasks; then the last request, None. After an error, waits for the tasks that still run."""
    try:
        with ThreadPoolExecutor(workers, "agriseg-task") as pool:
            return list(compute(*tasks, scheduler="threads", pool=pool))
    finally:
        requests.put(None)
