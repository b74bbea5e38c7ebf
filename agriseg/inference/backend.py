"""What prediction knows of a network: a backend runs it on batches of tiles.

`TorchBackend` runs it in torch. Another runtime, or test-time augmentation around a backend, is a class in a module of
its own and a line in `choose_backend`.
"""

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class BackendDescription:
    """All of a backend that decides the logits.

    Args:
        device: type, or product name of a GPU.
        precision: `fp32` or `bf16`; with name and version of the runtime if that is not torch.
    """

    device: str
    precision: str


class Backend(Protocol):
    """Runs one model on one device. Batches are (B, C, h, w) float32, h and w multiples of the model's step."""

    @property
    def device(self) -> torch.device:
        """Holds batches and logits."""

    def zeros(self, count: int, height: int, width: int) -> torch.Tensor:
        """An empty batch (count, C, height, width): the normalised mean everywhere."""

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, K, h / stride, w / stride) float32 of a batch.

        Raises:
            ModelError: the output of the network is not what the model says.
            torch.OutOfMemoryError: the memory of the device does not hold the batch.
        """

    def memory_per_pixel(self) -> float:
        """Bytes that the network takes per input pixel, from a trial on a small batch.

        Raises:
            ModelError, PredictionError: the trial gives no logits of the right shape, or NaN.
        """

    @property
    def description(self) -> BackendDescription:
        """Part of the record and of the identity of a run."""
