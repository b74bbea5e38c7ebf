"""Worker processes on this machine, which obey this process alone.

They talk over loopback, which any account of the machine reaches. So scheduler, workers and nannies talk TLS, and
refuse who does not show the certificate that was made for this one run. Its key is in the memory of these processes and
goes to a worker through the pipe that starts it. While the TLS library reads it, it lies in a folder that its owner
alone may open.
"""

import logging
import os
import signal
from typing import Any

from distributed import Nanny, Scheduler, Security, SpecCluster, Status, Worker, WorkerPlugin

from agriseg.errors import DEBUG

_SETTINGS = {
    "distributed.deploy.lost-worker-timeout": "1 day",  # or a worker that takes long to start again is closed
    "distributed.scheduler.allowed-failures": 0,  # a raster that kills its worker shall not kill the others
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.memory.pause": False,  # agriseg bounds its memory itself
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.terminate": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_LOOPBACK = "127.0.0.1"


class _Deaf(WorkerPlugin):
    """A worker leaves Ctrl-C, which the terminal sends to all processes of a command, to the one that gives orders."""

    def setup(self, worker: Any) -> None:
        """Runs in the worker's main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _WithoutPages:
    """No pages over HTTP, which any account of the machine could read: their port is not opened."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start none."""


class _Scheduler(_WithoutPages, Scheduler):
    pass


class _Worker(_WithoutPages, Worker):
    pass


class LocalWorkers(SpecCluster):
    """Worker processes with a scheduler in this process; with several GPUs, each sees one of them.

    Args:
        workers: how many.
        gpus: that they share out; 0 to leave it to them.
    """

    def __init__(self, workers: int, gpus: int) -> None:
        self._gpus = gpus
        self.wanted = workers
        shared = {"host": _LOOPBACK, **_keys()}
        worker = {
            "nthreads": 1, "memory_limit": 0, "worker_class": _Worker, "plugins": (_Deaf(),),
            "silence_logs": logging.CRITICAL, **shared,
        }  # fmt: skip
        super().__init__(  # type: ignore[no-untyped-call]
            scheduler={"cls": _Scheduler, "options": {"dashboard": False, **shared}},
            worker={"cls": Nanny, "options": worker}, security=shared["security"], silence_logs=logging.CRITICAL,
        )  # fmt: skip
        self.scale(workers)  # type: ignore[no-untyped-call]

    def restart_dead(self) -> None:
        """Start those again that died while they were starting: over these their nannies give up."""
        self.loop.add_callback(self._forget_closed)  # type: ignore[union-attr]
        self.scale(self.wanted)  # type: ignore[no-untyped-call]

    def _forget_closed(self) -> None:
        for name, nanny in list(self.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                del self.workers[name]

    def new_worker_spec(self) -> dict[Any, Any]:
        """Of the next worker."""
        ((name, spec),) = super().new_worker_spec().items()  # type: ignore[no-untyped-call]
        if self._gpus:
            seen = {"CUDA_VISIBLE_DEVICES": str(len(self.worker_spec) % self._gpus)}
            spec = {**spec, "options": {**spec["options"], "env": seen}}
        return {name: spec}


def _keys() -> dict[str, Any]:
    """How the processes of one run know each other: a certificate made for it, that is shown on every connection."""
    return {"protocol": "tls://", "security": Security.temporary()}


def settings(workers: int) -> dict[str, Any]:
    """Of Dask, in this process and in its workers.

    They get an environment instead of Dask's own: one thread for numpy, and a heap that gives all back. That heap cost
    a fifth of the time (benchmarks/workers.py --only cost). One heap for all threads keeps what is freed for the next
    tile, as `inference/malloc.py` has it in a process of its own. Several workers share the cores out.
    """
    share = {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // workers))} if workers > 1 else {}
    quiet = {} if os.environ.get(DEBUG) else {"PYTHONWARNINGS": "ignore", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return {**_SETTINGS, "distributed.nanny.pre-spawn-environ": {"MALLOC_ARENA_MAX": "1", **share, **quiet}}
