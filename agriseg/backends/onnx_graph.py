"""The network of a model as an ONNX graph.

torch's exporter that traces is used. It takes a second, needs the package onnx alone, and takes every architecture. The
newer one, over `torch.export`, takes ten times as long and two more packages for the same graph.
"""

import copy
import io
import warnings

import torch
from torch import nn
from torch.nn import functional

from agriseg.errors import ModelError, UsageError
from agriseg.model import SegmentationModel
from agriseg.networks.exported import ExportedNetwork
from agriseg.networks.onnx_file import IMAGE, LOGITS, PROBABILITIES, logits_graph

_OPSET = 17
_SIDE = 64  # px, at least, of the image that is traced


class MapNetwork(nn.Module):
    """(B, C, h, w) float32 -> logits, and their probabilities (B, K, h, w) as a map of one tile has them."""

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        self.network = traceable(model.network)
        self.stride = model.stride
        self.temperature = model.temperature

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and probabilities."""
        logits = self.network(image)
        if self.stride == 1:
            return logits, functional.softmax(logits / self.temperature, 1)
        pixels = functional.interpolate(logits, scale_factor=self.stride, mode="bilinear", align_corners=False)
        return logits, functional.softmax(pixels / self.temperature, 1)


class _Unpool(nn.Module):
    """`nn.MaxUnpool2d(2)` as a scatter, which can be traced: (N, C, h, w) to (N, C, 2 h, 2 w)."""

    def forward(self, x: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Values at their places, zero elsewhere."""
        batch, channels, height, width = x.shape
        flat = torch.zeros(batch, channels, 4 * height * width, dtype=x.dtype)
        return flat.scatter(2, where.flatten(2), x.flatten(2)).view(batch, channels, 2 * height, 2 * width)


def network_graph(model: SegmentationModel) -> bytes:
    """An ONNX graph from `IMAGE` (B, C, h, w) to `LOGITS` (B, K, h / stride, w / stride), for any B, h and w.

    Raises:
        ModelError: torch cannot trace the network.
        UsageError: the package onnx is not installed.
    """
    if isinstance(model.network, ExportedNetwork):
        return logits_graph(model.network.content)
    return traced(model, traceable(model.network), (LOGITS,))


def traced(model: SegmentationModel, network: nn.Module, outputs: tuple[str, ...]) -> bytes:
    """An ONNX file of a network with these outputs, `LOGITS` or both; see `network_graph`."""
    sizes = {0: "batch", 2: "height", 3: "width"}
    coarse = {0: "batch", 2: "rows", 3: "cols"}
    axes = {IMAGE: sizes, LOGITS: coarse, PROBABILITIES: sizes}
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():  # the tracer doubts shapes that it keeps right, and calls itself deprecated
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network, (example(model),), file,  # type: ignore[arg-type]  # the annotation forgets open files
                input_names=[IMAGE], output_names=list(outputs),
                dynamic_axes={name: axes[name] for name in (IMAGE, *outputs)}, opset_version=_OPSET, dynamo=False,
            )  # fmt: skip
    except (ModuleNotFoundError, torch.onnx.errors.OnnxExporterError) as error:
        if isinstance(error.__cause__ or error, ModuleNotFoundError):
            raise UsageError("ONNX needs the package onnx; pip install 'agriseg[export]'") from error
        raise _untraceable(model, error) from error
    except (RuntimeError, TypeError) as error:
        raise _untraceable(model, error) from error
    return file.getvalue()


def traceable(network: nn.Module) -> nn.Module:
    """A copy of a network on the CPU, for prediction, without the layers that torch cannot trace."""
    made = copy.deepcopy(network).cpu().eval()
    for parent in list(made.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.MaxUnpool2d):
                setattr(parent, name, _Unpool())
    return made


def example(model: SegmentationModel) -> torch.Tensor:
    """A small image (1, C, h, w) that is traced, noise."""
    side = -(-_SIDE // model.step) * model.step
    return torch.rand(1, len(model.bands), side, side, generator=torch.Generator().manual_seed(0))


def _untraceable(model: SegmentationModel, error: Exception) -> ModelError:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(f"model {model.name!r}: torch cannot export its network ({first}); use --backend torch")
