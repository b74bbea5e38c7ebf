"""Where bands run: the only user of Dask.

In one process the bands form a chain, since each carries sums to the next; reading ahead and writing behind are
tasks beside it. How far reading may run ahead is part of the graph: the reader of band k waits for the network
of band k - AHEAD, and the network for the writer of the band before that. So the bands in flight are few,
whatever the speeds. An edge of the graph is a reference inside the process; nothing is copied or pickled.

The graph is handed to Dask a piece at a time, so that its size does not depend on the raster either.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import dask
from dask import delayed

from agriseg.engine.plan import AHEAD, Band
from agriseg.blend import Patch
from agriseg.engine.sweep import Decided
from agriseg.raster.reader import Strip

T = TypeVar("T")

_PIECE = 64  # bands per graph
_THREADS = 3  # one reads, one runs the network, one writes


def run_bands(
    bands: Sequence[Band],
    read: Callable[[Band], Strip],
    infer: Callable[[Band, Strip, Patch | None], Decided],
    write: Callable[[Decided], T],
    threads: int | None = None,
) -> Iterator[T]:
    """Run bands in order on Dask's threaded scheduler.

    Args:
        bands: from the top of the raster to its bottom.
        read: pixels of a band; runs ahead.
        infer: the network, the fold and the decision; runs for one band at a time, in order.
        write: stores what was decided and returns what is to be kept of it; runs behind.
        threads: Dask threads; None takes Dask's own setting `num_workers`, or 3.

    Yields:
        What `write` returned, in the order of the bands.
    """
    workers = threads or dask.config.get("num_workers", _THREADS)
    carry: Patch | None = None
    # One thread owns the network. OpenMP keeps a team of threads for every thread that calls it, and the
    # allocator a heap; Dask would pass the network around all of its own.
    with ThreadPoolExecutor(1, "agriseg-network") as owner:

        def owned(band: Band, strip: Strip, above: Patch | None) -> Decided:
            return owner.submit(infer, band, strip, above).result()

        for first in range(0, len(bands), _PIECE):
            kept, carry = _run_piece(bands[first : first + _PIECE], read, owned, write, carry, workers)
            yield from kept


def _run_piece(
    bands: Sequence[Band],
    read: Callable[[Band], Strip],
    infer: Callable[[Band, Strip, Patch | None], Decided],
    write: Callable[[Decided], T],
    carry: Patch | None,
    workers: int,
) -> tuple[list[T], Patch | None]:
    def after(task: Callable[..., Any]) -> Callable[..., Any]:
        """As a Dask task that also waits for its last argument."""
        return delayed(lambda *given: task(*given[:-1]), pure=False, traverse=False)

    read_task, infer_task = after(read), after(infer)
    write_task, carry_task = delayed(write, pure=False), delayed(_carry, pure=False)
    above = carry
    inferred, written = [], []
    for index, band in enumerate(bands):
        strip = read_task(band, inferred[index - AHEAD] if index >= AHEAD else None)
        decided = infer_task(band, strip, above, written[index - AHEAD] if index >= AHEAD else None)
        above = carry_task(decided)
        inferred.append(above)
        written.append(write_task(decided))
    *kept, last = dask.compute(*written, above, scheduler="threads", num_workers=workers)
    return kept, last


def _carry(decided: Decided) -> Patch | None:
    return decided.carry
