"""Runs a network in ONNX Runtime, on the processor."""

import torch

from agriseg.backends.backend import checked_logits, number_formats, trial
from agriseg.errors import ModelError, UsageError
from agriseg.model import SegmentationModel
from agriseg.networks.onnx_file import IMAGE, LOGITS

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as faults
except ImportError as error:
    raise UsageError("--backend onnxruntime needs ONNX Runtime; pip install 'agriseg[export]'") from error

_FAULTS = (faults.Fail, faults.InvalidArgument, faults.InvalidGraph, faults.InvalidProtobuf, faults.NotImplemented,
           faults.RuntimeException)  # fmt: skip
_ERRORS_ONLY = 3


class OnnxRuntimeBackend:
    """Runs an ONNX graph from image to logits in fp32, and in int8 where the graph says so. See `Backend`.

    Args:
        graph: of the model's network, see `network_graph`.
        memory: bytes that the network takes per input pixel.
    """

    device = torch.device("cpu")
    device_name = "cpu"

    def __init__(self, model: SegmentationModel, graph: bytes, memory: float) -> None:
        self.precision = f"{number_formats(model, 'fp32')} in onnxruntime {onnxruntime.__version__}"
        self._model = model
        self._memory = memory
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except _FAULTS as error:
            raise ModelError(f"model {model.name!r}: ONNX Runtime does not take its network: {error}") from error

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """See `Backend`."""
        try:
            (values,) = self._session.run([LOGITS], {IMAGE: batch.contiguous().numpy()})
        except _FAULTS as error:
            raise ModelError(f"model {self._model.name!r}: its network fails in ONNX Runtime: {error}") from error
        return checked_logits(self._model, torch.from_numpy(values), batch)

    def memory_per_pixel(self) -> float:
        """See `Backend`."""
        trial(self, self._model)
        return self._memory
