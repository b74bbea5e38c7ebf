"""Runs a network in OpenVINO, on the processor."""

import torch

from agriseg.backends.backend import checked_logits, number_formats, trial
from agriseg.errors import ModelError, UsageError
from agriseg.model import SegmentationModel

try:
    import openvino
except ImportError as error:
    raise UsageError("--backend openvino needs OpenVINO; pip install 'agriseg[export]'") from error

_PRECISIONS = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}
_VERSION = openvino.get_version().partition("-")[0]


class OpenVinoBackend:
    """Runs an ONNX graph from image to logits. See `Backend`.

    Args:
        graph: of the model's network, see `network_graph`.
        memory: bytes that the network takes per input pixel.
        precision: `fp32` or `bf16`; the attribute has what OpenVINO makes of it on this processor.
    """

    device = torch.device("cpu")
    device_name = "cpu"

    def __init__(self, model: SegmentationModel, graph: bytes, memory: float, precision: str) -> None:
        self._model = model
        self._memory = memory
        settings = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # several workers would be pinned to the same cores
        }
        try:
            core = openvino.Core()
            self._compiled = core.compile_model(core.read_model(graph), "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"model {model.name!r}: OpenVINO does not take its network: {_first(error)}") from error
        used = self._compiled.get_property("INFERENCE_PRECISION_HINT")  # fp32 where the processor has no bf16
        names = {each: name for name, each in _PRECISIONS.items()}
        self.precision = f"{number_formats(model, names[used])} in openvino {_VERSION}"

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """See `Backend`."""
        try:
            values = self._compiled(batch.contiguous().numpy())[0]
        except RuntimeError as error:
            raise ModelError(f"model {self._model.name!r}: its network fails in OpenVINO: {_first(error)}") from error
        return checked_logits(self._model, torch.from_numpy(values), batch)

    def memory_per_pixel(self) -> float:
        """See `Backend`."""
        trial(self, self._model)
        return self._memory


def _first(error: RuntimeError) -> str:
    return " ".join(str(error).split())[:200]
