"""The backend, the device and the precision that run a network."""

import torch

from agriseg.backends.backend import Backend
from agriseg.backends.orientations import OrientedBackend
from agriseg.backends.torch_backend import TorchBackend
from agriseg.errors import DeviceError
from agriseg.model import SegmentationModel
from agriseg.options.run import RunOptions


def choose_backend(model: SegmentationModel, options: RunOptions) -> Backend:
    """The backend for a model and the options of a run.

    Raises:
        DeviceError: the device is not available.
    """
    device = choose_device(options.device)
    backend = TorchBackend(model, device, choose_precision(options.precision, device, model))
    return backend if options.tta == "none" else OrientedBackend(backend, model, options.tta)


def choose_device(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; auto takes the first CUDA device, if any.

    Raises:
        DeviceError: it is not available.
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

    Other networks stay in fp32: they may need numbers that bf16 does not hold.
    """
    if name != "auto":
        return name
    return "bf16" if model.architecture is not None and _has_bf16(device) else "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):  # it asks the current device
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))
