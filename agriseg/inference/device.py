"""Where and how precisely a network runs, and what it asks for."""

from dataclasses import dataclass

import torch
from torch import nn

from agriseg.errors import DeviceError, ModelError, PredictionError
from agriseg.model import SegmentationModel

_PROBE_PX = 64
_LIVE_LAYERS = 4
"""Outputs of the widest layer that are held at once: input, residual, output and its activation."""


def choose_device(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; auto takes the first CUDA device, if any.

    Raises:
        DeviceError: it is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(f"device {name!r} is not available here; use --device cpu or auto") from error
    return device


def choose_precision(name: str, device: torch.device, model: SegmentationModel) -> str:
    """`fp32` or `bf16`. Auto is bf16 for agriseg's own architectures where the processor computes in it.

    A network of the user's own may rest on numbers that bf16 does not hold, so it stays in fp32.
    """
    if name != "auto":
        return name
    return "bf16" if model.architecture is not None and _has_bf16(device) else "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


class Forward:
    """A model's network on its device, in inference mode: (B, C, h, w) float32 -> (B, K, h/s, w/s) float32.

    Args:
        model: whose network is moved to the device and set to evaluation.
        device: where.
        precision: `fp32` or `bf16` (autocast); the logits are fp32 always.
    """

    def __init__(self, model: SegmentationModel, device: torch.device, precision: str) -> None:
        self.device = device
        self.precision = precision
        self._model = model
        self._network = model.network.eval().to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Run one batch.

        Raises:
            ModelError: the network does not answer as the model says.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self._network(x)
        stride = self._model.stride
        expected = (len(x), len(self._model.legend), x.shape[2] // stride, x.shape[3] // stride)
        if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
            got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ModelError(f"model {self._model.name!r}: the network answers {got}, expected logits {expected}")
        return logits.float()

    def zeros(self, count: int, height: int, width: int) -> torch.Tensor:
        """An empty batch: the normalised mean everywhere."""
        return torch.zeros((count, len(self._model.bands), height, width), device=self.device).contiguous(
            memory_format=torch.channels_last
        )


@dataclass(frozen=True)
class MemoryProbe:
    """What a small forward tells about a network.

    Args:
        bytes_per_pixel: memory of the widest layers at once, per input pixel, fp32.
    """

    bytes_per_pixel: float


def probe(model: SegmentationModel, forward: Forward) -> MemoryProbe:
    """Run a small input: check the answer's shape, see how wide the layers are.

    Raises:
        ModelError, PredictionError: the network does not answer as the model says, or with NaN.
    """
    side = -(-_PROBE_PX // model.step) * model.step
    widest = [side * side * len(model.bands)]

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            widest.append(output.numel())

    hooks = [module.register_forward_hook(note) for module in model.network.modules() if not list(module.children())]
    try:
        logits = forward(forward.zeros(1, side, side))
    except RuntimeError as error:
        if isinstance(error, PredictionError):
            raise
        raise ModelError(f"model {model.name!r}: the network fails on {len(model.bands)} bands: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not torch.isfinite(logits).all():
        raise PredictionError(f"model {model.name!r}: NaN or infinity for an empty image; train it again")
    return MemoryProbe(_LIVE_LAYERS * 4 * max(widest) / side**2)
