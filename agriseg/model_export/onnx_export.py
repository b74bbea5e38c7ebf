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
from agriseg.model_export.int8 import Int8Graph
from agriseg.model_export.parity import Images, Runner
from agriseg.networks.onnx_file import FACTS, IMAGE, LOGITS, METADATA, PROBABILITIES, ExportFacts, weights_hash

_ROWS, _COLS = 2, 3


def map_graph(model: SegmentationModel) -> bytes:
    """An ONNX file from `IMAGE` to `PROBABILITIES`, for a batch and images of any size; without properties.

    `LOGITS` is a tensor on the way.

    Raises:
        ModelError: torch cannot trace the network.
        UsageError: the package onnx is not installed.
    """
    content = traced(model, MapNetwork(model), (LOGITS, PROBABILITIES))
    import onnx

    file = onnx.ModelProto.FromString(content)
    logits, _probabilities = file.graph.output
    file.graph.value_info.append(logits)
    file.graph.output.remove(logits)
    return bytes(file.SerializeToString())


def onnx_content(model: SegmentationModel, tile: int | None, int8: Int8Graph | None = None) -> bytes:
    """The bytes of a file that takes square tiles of this side (px), or with None images of any size.

    Its graph is that of `map_graph`, or with layers in int8. The properties say what agriseg and Deepness read.

    Raises:
        ModelError, UsageError: see `map_graph`.
    """
    content = int8.content if int8 else map_graph(model)
    import onnx

    file = onnx.ModelProto.FromString(content)
    if tile is not None:
        for info in (*file.graph.input, *file.graph.output):
            for axis in (_ROWS, _COLS):
                info.type.tensor_type.shape.dim[axis].dim_value = tile
    file.producer_name, file.producer_version = "agriseg", version("agriseg")
    file.doc_string = f"{model.name}: {IMAGE} (stored * scale - mean) / std to {PROBABILITIES} of the classes"
    facts = ExportFacts(
        version("agriseg"), model.fingerprint, memory_per_pixel(model), weights_hash(file.graph),
        int8.facts if int8 else None,
    )  # fmt: skip
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
