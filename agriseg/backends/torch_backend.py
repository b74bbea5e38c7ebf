"""Runs a network in torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from agriseg.backends.backend import checked_logits, trial
from agriseg.backends.fuse import fused
from agriseg.errors import DeviceError, ModelError, PredictionError
from agriseg.model import SegmentationModel

_GPU_KERNELS = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
_LIVE_LAYERS = 4
"""Outputs of the widest layer that are held at once: input, residual, output and its activation."""


class TorchBackend:
    """Runs the network of a model in torch, in inference mode. See `Backend`.

    The network is moved to the device and set to evaluation. One of agriseg's own is fused (`fuse.py`). `bf16` is
    autocast; the logits are always fp32. In `fp32` a GPU computes with all bits of a number, not in TF32.
    """

    def __init__(self, model: SegmentationModel, device: torch.device, precision: str) -> None:
        self.device = device
        self.device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        self.precision = precision
        self._model = model
        network = model.network.eval().to(device).to(memory_format=torch.channels_last)
        self._network = network if model.architecture is None else fused(network)

    @torch.inference_mode()
    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """See `Backend`."""
        with _all_bits(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self._network(batch)
        return checked_logits(self._model, logits, batch).float()

    def memory_per_pixel(self) -> float:
        """See `Backend`: memory of the widest layers at once, fp32."""
        model, widest = self._model, [0]

        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor):
                widest.append(output.numel())

        layers = [module for module in self._network.modules() if not list(module.children())]
        hooks = [layer.register_forward_hook(note) for layer in layers]
        try:
            pixels = trial(self, model)
        except torch.OutOfMemoryError as error:
            raise DeviceError(f"{self.device} has not enough memory for the network; use --device cpu") from error
        except PredictionError:
            raise
        except RuntimeError as error:
            raise ModelError(f"model {model.name!r}: the network fails on {len(model.bands)} bands: {error}") from error
        finally:
            for hook in hooks:
                hook.remove()
        return _LIVE_LAYERS * 4 * max(len(model.bands), max(widest) / pixels)


@contextmanager
def _all_bits() -> Iterator[None]:
    """Within it, GPUs compute fp32 with all bits; by default cuDNN's convolutions keep ten bits of each factor."""
    before = [kernels.fp32_precision for kernels in _GPU_KERNELS]
    try:
        for kernels in _GPU_KERNELS:
            kernels.fp32_precision = "ieee"
        yield
    finally:
        for kernels, precision in zip(_GPU_KERNELS, before, strict=True):
            kernels.fp32_precision = precision
