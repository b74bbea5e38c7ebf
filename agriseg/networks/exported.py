"""A network in an ONNX file: what is known of it without running it."""

from typing import NoReturn

import torch
from torch import nn

from agriseg.errors import ModelError


class ExportedNetwork(nn.Module):
    """The bytes of an ONNX file in the place of a network. A runtime for ONNX runs it, torch does not.

    Args:
        file: the whole file; its SHA-256 stands for the weights.
        factor: how many pixels a side the network takes the mean of.
        memory_per_pixel: bytes that torch took per input pixel for the network that was exported.
        int8: whether some of its layers are in int8.
    """

    file: torch.Tensor
    factor: int
    memory_per_pixel: float
    int8: bool

    def __init__(self, file: bytes, factor: int, memory_per_pixel: float, *, int8: bool) -> None:
        super().__init__()
        self.register_buffer("file", torch.frombuffer(bytearray(file), dtype=torch.uint8))
        self.factor = factor
        self.memory_per_pixel = memory_per_pixel
        self.int8 = int8

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self.file.numpy().tobytes()

    def forward(self, _batch: torch.Tensor) -> NoReturn:
        """Torch cannot run it.

        Raises:
            ModelError: always.
        """
        raise ModelError("an ONNX file does not run in torch; use --backend onnxruntime or openvino")
