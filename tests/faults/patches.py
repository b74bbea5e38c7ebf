"""Faults that no operating system gives on request: put into torch and the network from outside, never into agriseg."""

import importlib
import os
import pathlib  # noqa: F401  (for `act`)
import pickle
import select
import signal
import time  # noqa: F401
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from moments import Moments

from agriseg.backends.torch_backend import TorchBackend
from agriseg.batch import dispatcher, worker
from agriseg.errors import WorkerLost
from agriseg.inference.workers import _guarded
from agriseg.mapping import run as mapping_run
from agriseg.storage.logits_cache import LogitsCache

PROBE = 64
"""Side of the input that agriseg tries a network with (px); tiles of the tests are larger."""


def count(path: str) -> None:
    """One byte in a file for each tile that goes through the network."""

    def seen(x: torch.Tensor) -> None:
        with Path(path).open("ab") as file:
            file.write(bytes(len(x)))

    _before(seen)


class _Forks:
    """Stands in for `WorkerPool` in a batch: each raster in a fork of this process, which begins in milliseconds."""

    def __init__(self, workers: int, _scheduler: str | None = None, _gpus: int = 0) -> None:
        self.size = workers
        self._under_way: dict[str, tuple[int, int]] = {}  # process, and the pipe that its answer comes through

    def __enter__(self) -> "_Forks":
        return self

    def __exit__(self, *_: object) -> None:
        for ticket in list(self._under_way):
            self.kill(ticket)

    def check_versions(self, _describe: Callable[[], Any]) -> None:
        pass

    def require_workers(self) -> None:
        pass

    @property
    def free(self) -> int:
        return self.size - len(self._under_way)

    def submit(self, ticket: str, task: Callable[..., Any], *args: Any) -> None:
        pipe, out = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                with os.fdopen(out, "wb") as answer:
                    answer.write(pickle.dumps(_guarded(task, *args)))
            finally:
                os._exit(0)
        os.close(out)
        self._under_way[ticket] = child, pipe

    def as_completed(self, seconds: float) -> Iterator[tuple[str, Any]]:
        ready = select.select([pipe for _, pipe in self._under_way.values()], [], [], seconds)[0]
        for ticket, (child, pipe) in list(self._under_way.items()):
            if pipe in ready:
                with os.fdopen(pipe, "rb") as answer:
                    told = answer.read()
                del self._under_way[ticket]
                os.waitpid(child, 0)
                yield ticket, pickle.loads(told) if told else WorkerLost("its worker process died")

    def kill(self, ticket: str) -> None:
        child, pipe = self._under_way.pop(ticket)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(pipe)


def forks() -> None:
    """Rasters of a night are mapped in forks, not in Dask's workers."""
    dispatcher.WorkerPool = _Forks  # type: ignore[assignment, misc]


def before_tile(name: str, act: str) -> None:
    """Python that is run before each tile of the raster of that name; it sees the tile's window as `window`."""
    mark_running = LogitsCache.mark_running

    def note(self: LogitsCache, tile: Any) -> None:
        mark_running(self, tile)
        if mapped[-1] == name:
            exec(act, {**globals(), "window": tile.window})

    mapped: list[str] = []
    plain = mapping_run.run

    def run(prepared: Any, *rest: Any, **flags: Any) -> Any:
        mapped.append(prepared.info.path.name)
        return plain(prepared, *rest, **flags)

    LogitsCache.mark_running = note  # type: ignore[method-assign]
    worker.run = run


def dies_at(place: str, number: int) -> None:
    """The process dies at the n-th call of a function, counted from 0, such as `agriseg.files:commit`."""
    module, name = place.split(":")
    owner = importlib.import_module(module)
    plain, seen = getattr(owner, name), []

    def call(*args: Any, **flags: Any) -> Any:
        seen.append(1)
        if len(seen) > number:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*args, **flags)

    setattr(owner, name, call)


def die_at(moment: int) -> None:
    """The process kills itself at the moment of this number; see `moments`."""
    Moments(moment, lambda: os.kill(os.getpid(), signal.SIGKILL))


def hold(tile: int) -> None:
    """The process stops itself, as SIGSTOP does, before it runs a tile, counted from 0."""
    seen: list[int] = []

    def stop(_x: torch.Tensor) -> None:
        seen.append(1)
        if len(seen) == tile + 1:
            os.kill(os.getpid(), signal.SIGSTOP)

    _before(stop)


def out_of_memory(side: int) -> None:
    """The device holds no tile wider than this (px)."""

    def refuse(x: torch.Tensor) -> None:
        if x.shape[-1] > side:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    _before(refuse)


def no_host_memory() -> None:
    """The processor's allocator gives up."""

    def refuse(_x: torch.Tensor) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory")

    _before(refuse)


def sticky() -> None:
    """The device has failed, and says so in each call from then on."""

    def refuse(_x: torch.Tensor) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    _before(refuse)


def not_a_number(tile: int) -> None:
    """The network answers NaN for one tile, counted from 0."""
    plain, seen = TorchBackend.logits, []

    def call(self: TorchBackend, x: torch.Tensor) -> torch.Tensor:
        logits = plain(self, x)
        if x.shape[-1] > PROBE:
            seen.append(1)
        return logits * float("nan") if len(seen) == tile + 1 else logits

    _replace(call)


def _before(act: Callable[[torch.Tensor], None]) -> None:
    """Something that happens before each tile, but not before the trial."""
    plain = TorchBackend.logits

    def call(self: TorchBackend, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] > PROBE:
            act(x)
        return plain(self, x)

    _replace(call)


def _replace(call: Callable[..., Any]) -> None:
    TorchBackend.logits = call  # type: ignore[method-assign]
