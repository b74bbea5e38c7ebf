"""Worker processes that take one task at a time, on this machine or on a cluster that somebody started.

Dask starts them, watches them and starts those again that die. A task travels as a function's name and its
arguments: paths and numbers, never pixels or weights.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.config
from distributed import Client, Future, KilledWorker, LocalCluster, wait

from agriseg.errors import DeviceError, WorkerLost

_CONNECT = 20.0  # seconds to find a scheduler
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # a raster that kills its worker shall not kill the others
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.memory.pause": False,  # agriseg bounds its memory itself
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.terminate": False,
}


class Crew:
    """Workers, each with one task or none; use it as a context.

    Args:
        workers: processes to start on this machine; they talk over loopback alone, without dashboard.
        scheduler: address or file of a running scheduler, whose workers are used instead.

    Raises:
        DeviceError: no scheduler answers there, or it has no workers.
    """

    def __init__(self, workers: int, scheduler: str | None = None) -> None:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._settings = dask.config.set(_SETTINGS)
        self._cluster = None if scheduler else _local(workers)
        self._client = _connected(scheduler) if scheduler else Client(self._cluster)
        self._under_way: dict[str, Future[Any]] = {}

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._under_way.values():
            future.cancel()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close(timeout=5)
        self._settings.__exit__(None, None, None)

    @property
    def free(self) -> int:
        """Workers without a task; one that is being started again does not count."""
        workers: int = self._client.run_on_scheduler(_count_workers)
        return workers - len(self._under_way)

    def give(self, ticket: str, task: Callable[..., Any], *args: Any) -> None:
        """Let a free worker call a function of a module; `ticket` names the call."""
        self._under_way[ticket] = self._client.submit(task, *args, pure=False, retries=0)

    def done(self, seconds: float) -> Iterator[tuple[str, Any]]:
        """Calls that have ended, waiting for the first of them at most so long: ticket, and the answer or the error."""
        try:
            wait(list(self._under_way.values()), timeout=seconds, return_when="FIRST_COMPLETED")
        except TimeoutError:
            return
        for ticket, future in list(self._under_way.items()):
            if future.done():
                del self._under_way[ticket]
                yield ticket, _outcome(future)

    def stop(self, ticket: str) -> None:
        """Kill the worker that has a task; another takes its place."""
        future = self._under_way.pop(ticket)
        address = self._client.run_on_scheduler(_place_of, key=future.key)
        future.cancel()
        if address:
            self._client.run(_kill_worker, workers=[address], nanny=True, on_error="ignore")


def _local(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
        silence_logs=logging.CRITICAL, memory_limit=0,
    )  # fmt: skip


def _connected(scheduler: str) -> Client:
    """A client of a running scheduler that has workers."""
    by_file = "://" not in scheduler
    if by_file and not Path(scheduler).is_file():
        raise DeviceError(f"{scheduler}: no such scheduler file; give the one that 'dask scheduler' writes")
    try:
        client = Client(scheduler_file=scheduler) if by_file else Client(scheduler, timeout=_CONNECT)
    except (OSError, ValueError) as error:
        raise DeviceError(f"{scheduler}: no Dask scheduler answers there; start one with 'dask scheduler'") from error
    if not client.run_on_scheduler(_count_workers):
        client.close()
        raise DeviceError(f"{scheduler}: the scheduler has no workers; start some with 'dask worker {scheduler}'")
    return client


def _outcome(future: Future[Any]) -> Any:
    error = future.exception()
    if isinstance(error, KilledWorker):
        return WorkerLost("its worker process died")
    return future.result() if error is None else error


def _count_workers(dask_scheduler: Any) -> int:
    return len(dask_scheduler.workers)


def _place_of(dask_scheduler: Any, key: str) -> str | None:
    """Address of the worker that has a task."""
    task = dask_scheduler.tasks.get(key)
    return task.processing_on.address if task is not None and task.processing_on else None


def _kill_worker(dask_worker: Any) -> None:
    """Runs in the nanny, which starts another."""
    os.kill(dask_worker.pid, signal.SIGKILL)
