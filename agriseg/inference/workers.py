"""Worker processes that take one task at a time, on this machine or on a running Dask cluster.

Dask starts them, watches them, and starts them again when they die. A task is sent as the name of a function and its
arguments: paths and numbers, never pixels or weights. An error comes back as a sentence, because an exception may hold
objects that cannot be pickled.
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

from distributed import Client, Future, KilledWorker, wait

from agriseg.errors import AgrisegError, DeviceError, DeviceMemoryError, WorkerFailed, WorkerLost, exit_code_and_message
from agriseg.inference.local_cluster import LocalWorkers, configure_dask
from agriseg.units import human_bytes

_CONNECT = 20.0  # seconds to find a scheduler
_ALONE = 60.0  # seconds without any worker
_CLOSE = 60.0  # seconds to end the workers; a loaded machine takes more than five


@dataclass(frozen=True)
class TaskError:
    """The error of a task: exit code, one sentence, and whether the device's memory did not hold one tile."""

    code: int
    text: str
    is_memory: bool = False

    @classmethod
    def of(cls, error: BaseException) -> "TaskError":
        """The error of an exception."""
        return cls(*exit_code_and_message(error), isinstance(error, DeviceMemoryError))

    @property
    def error(self) -> AgrisegError:
        """The error to raise in this process."""
        return DeviceMemoryError(self.text) if self.is_memory else WorkerFailed(self.code, self.text)


class WorkerPool:
    """Workers, each with one task or none; use it as a context.

    Args:
        workers: number of processes to start on this machine.
        scheduler: address or file of a running scheduler, whose workers are used instead.
        gpus: number of GPUs that the processes on this machine share out; 0 to set nothing.

    Raises:
        DeviceError: there is no scheduler at that address, or it has no workers.
    """

    def __init__(self, workers: int, scheduler: str | None = None, gpus: int = 0) -> None:
        for name in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._settings = configure_dask(workers)
        self._cluster = None if scheduler else LocalWorkers(workers, gpus)
        self._client = _connected(scheduler) if scheduler else Client(self._cluster)
        self._running: dict[str, Future[Any]] = {}
        self._last_worker = time.monotonic()  # when there was any

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._running.values():
            future.cancel()
        self._client.close()
        if self._cluster is not None:
            self._cluster.close(timeout=_CLOSE)
        self._settings.__exit__(None, None, None)

    def check_versions(self, describe: Callable[[], Mapping[str, str]]) -> None:
        """Check that `describe` returns the same versions in each worker as here, so that it makes the same bytes.

        Raises:
            DeviceError: a worker has another version, or no agriseg at all.
        """
        mine = describe()
        for address, theirs in self._client.run(describe, on_error="return").items():
            if isinstance(theirs, BaseException):
                raise DeviceError(f"worker {address}: cannot run agriseg ({theirs}); install the same version there")
            for name, version in mine.items():
                if (other := theirs.get(name)) != version:
                    raise DeviceError(
                        f"worker {address} has {name} {other}, this machine {version}; install the same there"
                    )

    def require_memory(self, needed: int) -> None:
        """Check that the memory limit of each worker is at least so many bytes.

        Raises:
            DeviceError: a limit is lower.
        """
        for address, worker in self._client.scheduler_info(n_workers=-1)["workers"].items():
            limit = worker["memory_limit"] or 0
            if 0 < limit < needed:
                raise DeviceError(
                    f"worker {address} may take {human_bytes(limit)}, the run needs {human_bytes(needed)} above the "
                    "program; start it with more (--memory-limit), or give a smaller --tile"
                )

    def require_workers(self) -> None:
        """Check that there are workers, or were within the last minute: they may be starting again.

        Raises:
            WorkerLost: there was none for a minute.
        """
        if self.size:
            self._last_worker = time.monotonic()
        elif time.monotonic() - self._last_worker > _ALONE:
            raise WorkerLost("no worker has come back for a minute; start workers, then run the same command again")

    @property
    def size(self) -> int:
        """Number of running workers; on this machine, missing ones are started again."""
        workers = len(self._client.nthreads())
        if self._cluster is not None and workers < self._cluster.wanted:
            self._cluster.restart_dead()
        return workers

    @property
    def free(self) -> int:
        """Number of running workers without a task."""
        return self.size - len(self._running)

    def submit(self, name: str, task: Callable[..., Any], *args: Any) -> None:
        """Call a function of a module in a free worker; `name` names the call."""
        self._running[name] = self._client.submit(_guarded, task, *args, pure=False, retries=0)

    def as_completed(self, seconds: float) -> Iterator[tuple[str, Any]]:
        """Names of finished calls, each with its result, a `TaskError` or a `WorkerLost`; waits for the first."""
        if not self._running:
            time.sleep(seconds)
            return
        with suppress(TimeoutError):
            wait(list(self._running.values()), timeout=seconds, return_when="FIRST_COMPLETED")
        for name, future in list(self._running.items()):
            if future.done():
                del self._running[name]
                yield name, _outcome(future)

    def kill(self, name: str) -> None:
        """Kill the worker that runs a call; Dask starts another."""
        future = self._running.pop(name)
        addresses = [address for address, keys in self._client.processing().items() if future.key in keys]
        future.cancel()
        if addresses:
            self._client.run(_kill_worker, workers=addresses, nanny=True, on_error="ignore")


def gpu_count() -> int:
    """Number of CUDA devices that processes of this machine can share out; 0 for a single one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:  # no driver, so torch need not load
        return 0
    import torch

    count = torch.cuda.device_count()
    return count if count > 1 else 0


def _connected(scheduler: str) -> Client:
    """A client of a running scheduler that has workers."""
    by_file = "://" not in scheduler
    if by_file and not Path(scheduler).is_file():
        raise DeviceError(f"{scheduler}: no such scheduler file; give the one that 'dask scheduler' writes")
    try:
        client = Client(**{"scheduler_file" if by_file else "address": scheduler}, timeout=_CONNECT)
    except TypeError as error:  # what Dask raises without a certificate
        raise DeviceError(f"{scheduler}: talks TLS; name the certificate in Dask's settings") from error
    except (OSError, ValueError) as error:
        raise DeviceError(f"{scheduler}: no Dask scheduler there; start one with 'dask scheduler'") from error
    if not client.nthreads():
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


def _kill_worker(dask_worker: Any) -> None:
    """Runs in the nanny, which starts another."""
    os.kill(dask_worker.pid, signal.SIGKILL)
