"""Training in several processes, as torchrun starts them: one network, one global batch, one loss.

Each process makes its part of the batch and runs it through its copy of the network. Batch normalisation uses the
moments of the whole batch, and every process computes the loss of the whole batch, since Dice and OHEM are not means
over samples. Gradients are summed. So the weights equal those of one process with the whole batch, up to the rounding
of sums and to dropout.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce

from agriseg.backends.choose_backend import choose_device
from agriseg.errors import UsageError

_TIMEOUT = timedelta(days=1)  # the others wait while the first scores a model

Made = TypeVar("Made")


@dataclass(frozen=True)
class Ranks:
    """This process among the `world` processes that train together; the first, rank 0, validates and writes."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process validates and writes files."""
        return self.rank == 0

    def local_batch(self, batch: int) -> int:
        """Samples of a batch in each process.

        Raises:
            UsageError: the batch is not a multiple of the number of processes.
        """
        if batch % self.world:
            raise UsageError(f"batch {batch} for {self.world} processes; give a multiple of {self.world}")
        return batch // self.world

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network on this process's device, its batch normalisation over the whole batch."""
        return (_synced(network) if self.world > 1 else network).to(self.device)

    def gather_batch(self, part: torch.Tensor) -> torch.Tensor:
        """The parts of all processes, concatenated along the first axis; the gradient is that of this part."""
        return part if self.world == 1 else _GatherBatch.apply(part, self.rank, self.world)

    def sum_gradients(self, network: nn.Module) -> None:
        """Sum the gradients of all processes, in all of them."""
        if self.world == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def all_max(self, number: float) -> float:
        """The largest number of all processes."""
        if self.world == 1:
            return number
        largest = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return float(largest)

    def first_before_others(self, do: Callable[[], Made]) -> Made:
        """Call a function in every process; the first one writes files that the others then read."""
        if self.first:
            made = do()
        if self.world > 1:
            dist.barrier()
        return made if self.first else do()


def world_size() -> int:
    """Number of processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_helper_rank() -> bool:
    """Whether torchrun started this process and it is not the first."""
    return int(os.environ.get("RANK", "0")) > 0


@contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, or this one alone; with GPUs, each process uses that of its number.

    Raises:
        UsageError: no such device, or more processes than GPUs on this machine.
    """
    chosen = choose_device(device)
    if world_size() == 1:
        yield Ranks(chosen)
        return
    if chosen.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise UsageError(f"process {local + 1} on a machine of {torch.cuda.device_count()} GPUs; start fewer")
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Ranks(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with moments over all processes; unlike `torch.nn.SyncBatchNorm` it needs no GPUs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) to the same shape."""
        if not self.training:
            return super().forward(x)
        wide, count = x.float(), x.numel() // x.shape[1] * dist.get_world_size()
        mean = _sum(wide.sum((0, 2, 3))) / count
        centred = wide - mean.view(1, -1, 1, 1)
        variance = _sum(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self._update_running_moments(mean, variance * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)

    def _update_running_moments(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """As BatchNorm2d does."""
        momentum = 0.1 if self.momentum is None else self.momentum
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None:
                running.lerp_(now, momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def _sum(part: torch.Tensor) -> torch.Tensor:
    """Sum over all processes; the gradient is summed too."""
    total: torch.Tensor = all_reduce(part)  # type: ignore[no-untyped-call]
    return total


def _synced(network: nn.Module) -> nn.Module:
    """Replaces each BatchNorm2d, in place, by one over all processes with the same tensors."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            made = SyncedBatchNorm(child.num_features, child.eps, child.momentum)
            made.load_state_dict(child.state_dict())
            setattr(network, name, made)
        else:
            _synced(child)
    return network


class _GatherBatch(torch.autograd.Function):
    """All-gather; the gradient is that of the own part, since all processes compute the same loss."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor, rank: int, world: int) -> torch.Tensor:
        ctx.rank, ctx.size = rank, len(part)
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(world)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradients[0][ctx.rank * ctx.size : (ctx.rank + 1) * ctx.size], None, None
