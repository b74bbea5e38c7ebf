"""Worker processes that take one task at a time, on this machine or on a cluster that somebody started.

Dask starts them, watches them and starts those again that die. A task travels as a function's name and its
arguments: paths and numbers, never pixels or weights. What goes wrong in it comes back as a sentence: an error may
hold what does not travel.
"""

import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config
from distributed import Client, Future, KilledWorker, wait

from agriseg.errors import AgrisegError, DeviceError, DeviceMemoryError, WorkerFailed, WorkerLost, exit_code_and_message
from agriseg.inference.local_cluster import LocalWorkers, settings
from agriseg.units import human_bytes

_CONNECT = 20.0  # seconds to find a scheduler
_ALONE = 60.0  # seconds without any worker
_START = 120.0  # seconds for processes on this machine


@dataclass(frozen=True)
class TaskError:
    """Why a task has no answer.

    Args:
        code: exit code that the error has.
        text: one sentence.
        is_memory: whether the device's memory did not hold one tile.
    """

    code: int
    text: str
    is_memory: bool = False

    @classmethod
    def of(cls, error: BaseException) -> "TaskError":
        """What an error comes to."""
        return cls(*exit_code_and_message(error), isinstance(error, DeviceMemoryError))

    @property
    def error(self) -> AgrisegError:
        """As it was in the worker, for whoever raises it here."""
        return DeviceMemoryError(self.text) if self.is_memory else WorkerFailed(self.code, self.text)


class WorkerPool:
    """Workers, each with one task or none; use it as a context.

    Args:
        workers: processes to start on this machine; they talk over loopback alone, with keys made for this one run,
            so that no other account gives them orders.
        scheduler: address or file of a running scheduler, whose workers are used instead.
        gpus: that the processes on this machine share out, each to see one of them; 0 to leave it to them.

    Raises:
        DeviceError: no scheduler answers there, or it has no workers.
    """

    def __init__(self, workers: int, scheduler: str | None = None, gpus: int = 0) -> None:
        for name in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._settings = dask.config.set(settings(workers))
        self._cluster = None if scheduler else _local(workers, gpus)
        self._client = _connected(scheduler) if scheduler else Client(self._cluster)
        self._under_way: dict[str, Future[Any]] = {}
        self._seen = time.monotonic()  # a worker

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._under_way.values():
            future.cancel()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close(timeout=5)
        self._settings.__exit__(None, None, None)

    def check_versions(self, describe: Callable[[], Mapping[str, str]]) -> None:
        """Check that every worker would make the same bytes as this process.

        Args:
            describe: a function of a module, called here and there; what it says must be the same.

        Raises:
            DeviceError: a worker says something else, or has no agriseg at all.
        """
        mine = describe()
        for address, theirs in self._client.run(describe, on_error="return").items():
            if isinstance(theirs, BaseException):
                raise DeviceError(f"worker {address}: cannot run agriseg ({theirs}); install the same version there")
            if other := [name for name in mine if theirs.get(name) != mine[name]]:
                name = other[0]
                raise DeviceError(
                    f"worker {address} has {name} {theirs.get(name)}, this machine {mine[name]}; install the same there"
                )

    def require_memory(self, needed: int) -> None:
        """Check that each worker may take so many bytes.

        Raises:
            DeviceError: one may not.
        """
        limits: dict[str, int] = self._client.run_on_scheduler(_memory_limits)
        for address, limit in limits.items():
            if 0 < limit < needed:
                raise DeviceError(
                    f"worker {address} may take {human_bytes(limit)}, the run needs {human_bytes(needed)} above the "
                    "program; start it with more (--memory-limit), or give a smaller --tile"
                )

    def require_workers(self) -> None:
        """Check that there are any, or were within the last minute: they may be starting again.

        Raises:
            WorkerLost: none has come back.
        """
        if self.size:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > _ALONE:
            raise WorkerLost("no worker has come back for a minute; start workers, then run the same command again")

    @property
    def size(self) -> int:
        """Workers that are there; on this machine, those that are missing are started again."""
        workers: int = self._client.run_on_scheduler(_count_workers)
        if self._cluster is not None and workers < self._cluster.wanted:
            self._cluster.restart_dead()
        return workers

    @property
    def free(self) -> int:
        """Workers without a task; one that is being started again does not count."""
        return self.size - len(self._under_way)

    def submit(self, ticket: str, task: Callable[..., Any], *args: Any) -> None:
        """Let a free worker call a function of a module; `ticket` names the call."""
        self._under_way[ticket] = self._client.submit(_guarded, task, *args, pure=False, retries=0)

    def as_completed(self, seconds: float) -> Iterator[tuple[str, Any]]:
        """Calls that have ended, waiting for the first of them at most so long.

        Yields:
            The ticket, and the answer, or a `TaskError`, or a `WorkerLost`.
        """
        if not self._under_way:
            time.sleep(seconds)
            return
        with suppress(TimeoutError):
            wait(list(self._under_way.values()), timeout=seconds, return_when="FIRST_COMPLETED")
        for ticket, future in list(self._under_way.items()):
            if future.done():
                del self._under_way[ticket]
                yield ticket, _outcome(future)

    def kill(self, ticket: str) -> None:
        """Kill the worker that has a task; another takes its place."""
        future = self._under_way.pop(ticket)
        address = self._client.run_on_scheduler(_place_of, key=future.key)
        future.cancel()
        if address:
            self._client.run(_kill_worker, workers=[address], nanny=True, on_error="ignore")


def gpu_count() -> int:
    """CUDA devices that processes of this machine can share out: their number if there are several, else 0."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:  # no driver; without this, all that is not to compute would wait for torch to load
        return 0
    import torch

    count = torch.cuda.device_count()
    return count if count > 1 else 0


def _local(workers: int, gpus: int) -> LocalWorkers:
    cluster = LocalWorkers(workers, gpus)
    cluster.wait_for_workers(workers, timeout=_START)
    return cluster


def _connected(scheduler: str) -> Client:
    """A client of a running scheduler that has workers."""
    by_file = "://" not in scheduler
    if by_file and not Path(scheduler).is_file():
        raise DeviceError(f"{scheduler}: no such scheduler file; give the one that 'dask scheduler' writes")
    try:
        client = Client(**{"scheduler_file" if by_file else "address": scheduler}, timeout=_CONNECT)
    except TypeError as error:  # Dask's word for a missing certificate
        raise DeviceError(f"{scheduler}: talks TLS; say in Dask's settings which certificate to show there") from error
    except (OSError, ValueError) as error:
        raise DeviceError(f"{scheduler}: no Dask scheduler answers there; start one with 'dask scheduler'") from error
    if not client.run_on_scheduler(_count_workers):
        client.close()
        raise DeviceError(f"{scheduler}: the scheduler has no workers; start some with 'dask worker {scheduler}'")
    return client


def _guarded(task: Callable[..., Any], *args: Any) -> Any:
    """Runs in the worker."""
    try:
        return task(*args)
    except (AgrisegError, OSError, MemoryError, RuntimeError) as error:
        return TaskError.of(error)


def _outcome(future: Future[Any]) -> Any:
    error = future.exception()
    if isinstance(error, KilledWorker):
        return WorkerLost("its worker process died")
    return future.result() if error is None else TaskError.of(error)


def _count_workers(dask_scheduler: Any) -> int:
    return len(dask_scheduler.workers)


def _memory_limits(dask_scheduler: Any) -> dict[str, int]:
    return {address: int(worker.memory_limit or 0) for address, worker in dask_scheduler.workers.items()}


def _place_of(dask_scheduler: Any, key: str) -> str | None:
    """Address of the worker that has a task."""
    task = dask_scheduler.tasks.get(key)
    return task.processing_on.address if task is not None and task.processing_on else None


def _kill_worker(dask_worker: Any) -> None:
    """Runs in the nanny, which starts another."""
    os.kill(dask_worker.pid, signal.SIGKILL)
