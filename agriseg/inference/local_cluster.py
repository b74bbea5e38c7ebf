"""Worker processes on this machine that take orders from this process alone.

They talk over loopback, which every account of the machine can reach. So scheduler, workers and nannies talk TLS, with
a certificate that is made for one run, and refuse everyone else. The key stays in the memory of these processes. A
worker gets it through the pipe that starts it. While the TLS library reads it, it is in a folder with access for the
owner only.
"""

import logging
import os
import signal
from typing import Any

import dask.config
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
_PROTOCOL = "tls://"
_START = 120.0  # seconds until all workers are there


class _IgnoreInterrupt(WorkerPlugin):
    """Workers ignore Ctrl-C: the terminal sends it to all processes, and the main one stops the workers."""

    def setup(self, worker: Any) -> None:
        """Runs in the worker's main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _WithoutPages:
    """Opens no port for pages over HTTP, which every account of the machine could read."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start none."""


class _Scheduler(_WithoutPages, Scheduler):
    pass


class _Worker(_WithoutPages, Worker):
    pass


class LocalWorkers(SpecCluster):
    """Worker processes, with a scheduler in this process. Each sees one of `gpus` GPUs; 0 changes nothing.

    Raises:
        TimeoutError: they do not start.
    """

    def __init__(self, workers: int, gpus: int) -> None:
        self._gpus = gpus
        self.wanted = workers
        security = Security.temporary()
        shared = {"host": _LOOPBACK, "protocol": _PROTOCOL, "security": security}
        worker = {
            "nthreads": 1, "memory_limit": 0, "worker_class": _Worker, "plugins": (_IgnoreInterrupt(),),
            "silence_logs": logging.CRITICAL, **shared,
        }  # fmt: skip
        super().__init__(  # type: ignore[no-untyped-call]
            scheduler={"cls": _Scheduler, "options": {"dashboard": False, **shared}},
            worker={"cls": Nanny, "options": worker}, security=security, silence_logs=logging.CRITICAL,
        )  # fmt: skip
        self.scale(workers)  # type: ignore[no-untyped-call]
        self.wait_for_workers(workers, timeout=_START)

    def restart_dead(self) -> None:
        """Start the workers again that died during their start: their nannies give up."""
        self.loop.add_callback(self._remove_closed)  # type: ignore[union-attr]
        self.scale(self.wanted)  # type: ignore[no-untyped-call]

    def _remove_closed(self) -> None:
        for name, nanny in list(self.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                del self.workers[name]

    def new_worker_spec(self) -> dict[Any, Any]:
        """Settings of the next worker."""
        ((name, spec),) = super().new_worker_spec().items()  # type: ignore[no-untyped-call]
        if self._gpus:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(self._gpus)))
            gpu = visible.split(",")[len(self.worker_spec) % self._gpus]
            spec = {**spec, "options": {**spec["options"], "env": {"CUDA_VISIBLE_DEVICES": gpu}}}
        return {name: spec}


def configure_dask(workers: int) -> dask.config.set:
    """Dask's settings in this process and in its workers; use the result as a context.

    The workers get an environment instead of Dask's own, which has one thread for numpy, and a heap that gives all
    memory back. That heap cost a fifth of the time (benchmarks/workers.py --only cost). One heap for all threads keeps
    freed memory for the next tile, as `inference/malloc.py` does in a single process. Several workers share the cores.
    """
    cores = {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // workers))} if workers > 1 else {}
    quiet = {} if os.environ.get(DEBUG) else {"PYTHONWARNINGS": "ignore", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    environment = {"MALLOC_ARENA_MAX": "1", **cores, **quiet}
    return dask.config.set({**_SETTINGS, "distributed.nanny.pre-spawn-environ": environment})
