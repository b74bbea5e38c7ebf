"""What prediction knows of a network: a backend runs it on batches of tiles.

`TorchBackend` runs it in torch, `OrientedBackend` averages another backend over flips and turns. Another runtime is a
class in a module of its own and a line in `choose_backend`.
"""

from typing import Protocol

import torch


class Backend(Protocol):
    """Runs one model on one device. Batches are (B, C, h, w) float32, h and w multiples of the model's step."""

    @property
    def device(self) -> torch.device:
        """Holds batches and logits."""

    @property
    def device_name(self) -> str:
        """Type of the device, or product name of a GPU; part of the record and of the identity of a run."""

    @property
    def precision(self) -> str:
        """`fp32` or `bf16`; with the runtime unless it is torch, and the number of orientations. Part of the same."""

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (B, K, h / stride, w / stride) float32 of a batch.

        Raises:
            ModelError: the output of the network does not have this shape.
            torch.OutOfMemoryError: the memory of the device does not hold the batch.
        """

    def memory_per_pixel(self) -> float:
        """Bytes that the network takes per input pixel, from a trial on a small batch.

        Raises:
            ModelError, PredictionError: the trial gives no logits of the right shape, or NaN.
        """


def empty_batch(shape: tuple[int, int, int, int], device: torch.device) -> torch.Tensor:
    """Zeros (B, C, h, w), the normalised mean, with channels last in memory: convolutions are fastest with that."""
    return torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
