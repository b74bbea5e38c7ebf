"""Faults that no operating system gives on request: put into torch and the network from outside, never into agriseg."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from agriseg.engine.device import Forward

PROBE = 64
"""Side of the input that agriseg tries a network with (px); tiles of the tests are larger."""


def count(path: str) -> None:
    """One byte in a file for each tile that goes through the network."""

    def seen(x: torch.Tensor) -> None:
        with Path(path).open("ab") as file:
            file.write(bytes(len(x)))

    _before(seen)


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
    plain, seen = Forward.__call__, []

    def call(self: Forward, x: torch.Tensor) -> torch.Tensor:
        logits = plain(self, x)
        if x.shape[-1] > PROBE:
            seen.append(1)
        return logits * float("nan") if len(seen) == tile + 1 else logits

    _replace(call)


def _before(act: Callable[[torch.Tensor], None]) -> None:
    """Something that happens before each tile, but not before the trial."""
    plain = Forward.__call__

    def call(self: Forward, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] > PROBE:
            act(x)
        return plain(self, x)

    _replace(call)


def _replace(call: Callable[..., Any]) -> None:
    Forward.__call__ = call  # type: ignore[method-assign]
