"""A model as an ONNX file, for `agriseg run`, for Deepness, and for any runtime of ONNX."""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from agriseg.backends.choose_backend import memory_per_pixel
from agriseg.backends.onnx_graph import MapNetwork, traced
from agriseg.errors import UsageError
from agriseg.json_text import json_line
from agriseg.model import SegmentationModel
from agriseg.model_export.deepness import deepness_properties
from agriseg.model_export.parity import Images, Runner
from agriseg.networks.onnx_file import FACTS, IMAGE, LOGITS, METADATA, PROBABILITIES, ExportFacts, weights_hash

_ROWS, _COLS = 2, 3


def onnx_content(model: SegmentationModel, tile: int | None) -> bytes:
    """The bytes of a file that takes square tiles of this side (px), or with None images of any size.

    Its output is `PROBABILITIES`; `LOGITS` is a tensor on the way. The batch has any size.

    Raises:
        ModelError: torch cannot trace the network.
        UsageError: the package onnx is not installed.
    """
    content = traced(model, MapNetwork(model), (LOGITS, PROBABILITIES))
    import onnx

    file = onnx.ModelProto.FromString(content)
    logits, probabilities = file.graph.output
    file.graph.value_info.append(logits)
    file.graph.output.remove(logits)
    if tile is not None:
        for info in (*file.graph.input, probabilities):
            for axis in (_ROWS, _COLS):
                info.type.tensor_type.shape.dim[axis].dim_value = tile
    file.producer_name, file.producer_version = "agriseg", version("agriseg")
    file.doc_string = f"{model.name}: {IMAGE} (stored * scale - mean) / std to {PROBABILITIES} of the classes"
    facts = ExportFacts(version("agriseg"), model.fingerprint, memory_per_pixel(model), weights_hash(file.graph))
    properties = {METADATA: model.metadata_text, FACTS: json_line(asdict(facts))}
    if tile is not None:
        properties |= deepness_properties(model, tile)
    onnx.helper.set_model_props(file, properties)
    return bytes(file.SerializeToString())


def onnx_runner(path: Path) -> Runner:
    """Runs a file in ONNX Runtime alone, as a program does that knows nothing of agriseg.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("the export is compared in ONNX Runtime; pip install 'agriseg[export]'") from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Images) -> Images:
        return np.asarray(session.run([PROBABILITIES], {IMAGE: images})[0], np.float32)

    return run
