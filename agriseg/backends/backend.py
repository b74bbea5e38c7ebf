"""What prediction knows of a network: a backend runs it on batches of tiles.

`TorchBackend`, `OnnxRuntimeBackend` and `OpenVinoBackend` run it in a runtime each, `OrientedBackend` averages another
backend over flips and turns. Another runtime is a class in a module of its own and a line in `choose_backend`.
"""

from typing import Protocol

import torch

from agriseg.errors import ModelError, PredictionError
from agriseg.model import SegmentationModel
from agriseg.networks.exported import ExportedNetwork

_TRIAL_PX = 64


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
        """`fp32` or `bf16`, also `int8 and fp32`; with the runtime unless it is torch, and the number of orientations.

        Part of the identity of a run.
        """

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
    return torch.empty(shape, device=device, memory_format=torch.channels_last).zero_()


def checked_logits(model: SegmentationModel, logits: object, batch: torch.Tensor) -> torch.Tensor:
    """The output of a network for a batch (B, C, h, w).

    Raises:
        ModelError: it is no tensor (B, K, h / stride, w / stride).
    """
    stride = model.stride
    expected = (len(batch), len(model.legend), batch.shape[2] // stride, batch.shape[3] // stride)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ModelError(f"model {model.name!r}: the network gives {got}, expected logits {expected}")
    return logits


def number_formats(model: SegmentationModel, precision: str) -> str:
    """`fp32` or `bf16`, and before it int8 for an export with layers in it."""
    network = model.network
    return f"int8 and {precision}" if isinstance(network, ExportedNetwork) and network.int8 else precision


def trial(backend: Backend, model: SegmentationModel) -> int:
    """Run a network on a small empty image.

    Returns:
        The number of its pixels.

    Raises:
        ModelError: the logits have another shape.
        PredictionError: they are NaN or infinite.
    """
    side = -(-_TRIAL_PX // model.step) * model.step
    logits = backend.logits(empty_batch((1, len(model.bands), side, side), backend.device))
    if not torch.isfinite(logits).all():
        raise PredictionError(f"model {model.name!r}: NaN or infinity for an empty image; train it again")
    return side * side
