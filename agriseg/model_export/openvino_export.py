"""A model as OpenVINO's intermediate representation: an .xml with the graph, a .bin with the weights."""

from pathlib import Path

import numpy as np

from agriseg.errors import UsageError
from agriseg.model_export.parity import Images, Runner
from agriseg.networks.onnx_file import FACTS, METADATA

try:
    import onnx
    import openvino
except ImportError as error:
    raise UsageError("--to openvino needs OpenVINO and onnx; pip install 'agriseg[export]'") from error


def write_openvino(content: bytes, path: Path) -> None:
    """Write `path`, an .xml, and the .bin beside it, from what `onnx_content` gives; its properties are `rt_info`."""
    converted = openvino.Core().read_model(content)
    for each in onnx.ModelProto.FromString(content).metadata_props:
        if each.key in (METADATA, FACTS):
            converted.set_rt_info(each.value, [each.key])
    openvino.save_model(converted, path, compress_to_fp16=False)


def openvino_runner(path: Path) -> Runner:
    """Runs a file in OpenVINO alone, in fp32."""
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: Images) -> Images:
        return np.asarray(compiled(images)[0], np.float32)

    return run
