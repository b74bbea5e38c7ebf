"""The backend, the device and the precision that run a network."""

from importlib.util import find_spec

import torch

from agriseg.backends.backend import Backend
from agriseg.backends.onnx_graph import network_graph
from agriseg.backends.orientations import OrientedBackend
from agriseg.backends.torch_backend import TorchBackend
from agriseg.errors import DeviceError, ModelError, UsageError
from agriseg.model import SegmentationModel
from agriseg.networks.exported import ExportedNetwork
from agriseg.options.run import AUTO, RunOptions

_FOR_FILES = ("openvino", "onnxruntime")
"""What runs an ONNX file: the first that is installed."""


def choose_backend(model: SegmentationModel, options: RunOptions) -> Backend:
    """The backend for a model and the options of a run.

    Raises:
        DeviceError: the device is not available.
        ModelError: the runtime does not take the network.
        UsageError: the runtime is not installed, or does not compute on this device or in this precision.
    """
    runtime = choose_runtime(model, options.backend)
    backend: Backend
    if runtime == "torch":
        device = choose_device(options.device)
        backend = TorchBackend(model, device, choose_precision(options.precision, device, model))
    else:
        backend = _on_graph(model, runtime, options)
    return backend if options.tta == "none" else OrientedBackend(backend, model, options.tta)


def choose_runtime(model: SegmentationModel, name: str | None) -> str:
    """`torch`, `onnxruntime` or `openvino`: the one of this name.

    None is torch, and for an ONNX file what is installed. So is auto, where there is no raster to measure on.

    Raises:
        ModelError: an ONNX file, and nothing that runs it.
    """
    is_file = isinstance(model.network, ExportedNetwork)
    if name == "torch" and is_file:
        raise ModelError(f"{model.path}: torch does not run ONNX files; use --backend openvino or onnxruntime")
    if name is not None and name != AUTO:
        return name
    if not is_file:
        return "torch"
    runtime = next((each for each in _FOR_FILES if find_spec(each)), None)
    if runtime is None:
        raise ModelError(f"{model.path}: nothing installed runs ONNX files; pip install 'agriseg[export]'")
    return runtime


def _on_graph(model: SegmentationModel, runtime: str, options: RunOptions) -> Backend:
    """The backend of a runtime that takes ONNX graphs, on the processor."""
    cpu = torch.device("cpu")
    if options.device not in ("auto", "cpu"):
        raise UsageError(f"--backend {runtime} computes on the processor, not on {options.device}; use --device cpu")
    precision = choose_precision(options.precision, cpu, model)
    if precision == "bf16" and not (runtime == "openvino" and _has_bf16(cpu)):
        if options.precision == "bf16":
            raise UsageError(f"--precision bf16: {runtime} does not compute in it here; use --precision fp32")
        precision = "fp32"
    graph, memory = network_graph(model), memory_per_pixel(model)
    if runtime == "openvino":
        from agriseg.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(model, graph, memory, precision)
    from agriseg.backends.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, graph, memory)


def memory_per_pixel(model: SegmentationModel) -> float:
    """Bytes per input pixel, as torch takes them: the layers are as wide in every runtime."""
    if isinstance(model.network, ExportedNetwork):
        return model.network.memory_per_pixel
    return TorchBackend(model, torch.device("cpu"), "fp32").memory_per_pixel()


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
