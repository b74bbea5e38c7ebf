"""ONNX files of `agriseg export`: what they hold beside the graph, and the graph as a backend runs it.

The properties of the file hold the metadata of the model file and `ExportFacts`. The graph computes logits, and from
these its only output, the probabilities of each pixel. So one file serves `agriseg run`, which blends logits, and
programs that know nothing of agriseg. Reading a file runs no code of it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agriseg.errors import DataError, ModelError
from agriseg.json_text import from_json

if TYPE_CHECKING:
    import onnx

METADATA, FACTS = "agriseg", "agriseg_export"
"""Names of the properties: the metadata of the model file, and `ExportFacts`, both as JSON."""
IMAGE, LOGITS, PROBABILITIES = "image", "logits", "probabilities"
"""Names of tensors: (B, C, h, w), (B, K, h / stride, w / stride), (B, K, h, w), all float32."""
_LARGEST = 2**31 - 1  # bytes; protobuf has no larger messages
_INSTALL = "pip install 'agriseg[export]'"
_REMEDY = "export the model again with 'agriseg export --to onnx', or use its .safetensors"


@dataclass(frozen=True)
class Int8Facts:
    """What is known of layers in int8.

    Args:
        images: names of the files that the layers were calibrated on.
        tiles: of these images, that were calibrated with.
        layers, all_layers: number of layers in int8, and of all.
        pixels: with data, in other tiles of the images, that were compared with torch in fp32.
        equal: share of them with the same label, in [0, 1].
        mean_iou: of the fp32 model and of this one on labelled images; None where none were given.
    """

    images: tuple[str, ...]
    tiles: int
    layers: int
    all_layers: int
    pixels: int
    equal: float
    mean_iou: tuple[float, float] | None = None


@dataclass(frozen=True)
class ExportFacts:
    """What an export adds to the metadata of the model.

    Args:
        agriseg: version that exported.
        fingerprint: of the model that was exported.
        memory_per_pixel: bytes that torch took per input pixel.
        weights_sha256: see `weights_hash`.
        int8: None if all layers are in fp32.
    """

    agriseg: str
    fingerprint: str
    memory_per_pixel: float
    weights_sha256: str
    int8: Int8Facts | None = None


@dataclass(frozen=True)
class OnnxFile:
    """A file that was read: its bytes, and what its properties hold; `metadata` is JSON text."""

    content: bytes
    metadata: str
    facts: ExportFacts


def read_onnx(path: Path) -> OnnxFile:
    """Read an exported model.

    Raises:
        ModelError: missing, damaged, too large, not written by agriseg, with tensors in other files; or the package
            onnx is not installed.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; check the name")
    if path.stat().st_size > _LARGEST:
        raise ModelError(f"{path}: {path.stat().st_size} bytes, expected at most {_LARGEST}; {_REMEDY}")
    content = path.read_bytes()
    graph, properties = _parsed(content, str(path))
    if METADATA not in properties or FACTS not in properties:
        raise ModelError(f"{path}: an ONNX file without agriseg's bands, legend and scale; {_REMEDY}")
    facts = _facts(properties[FACTS], path)
    if any(tensor.external_data for tensor in _tensors(graph)) or any(node.domain for node in graph.node):
        raise ModelError(f"{path}: has tensors in other files, or operators outside of ONNX; {_REMEDY}")
    if weights_hash(graph) != facts.weights_sha256:
        raise ModelError(f"{path}: the weights are not those that were exported; copy the file again")
    return OnnxFile(content, properties[METADATA], facts)


def logits_graph(content: bytes) -> bytes:
    """The graph from image to logits of an exported file, for images of any size, without the properties.

    Raises:
        ModelError: it has no tensors of these names; or the package onnx is not installed.
    """
    import onnx

    whole = onnx.ModelProto.FromString(content)
    graph = whole.graph
    infos = {info.name: info for info in (*graph.input, *graph.value_info)}
    if IMAGE not in infos or LOGITS not in infos:
        raise ModelError(f"an ONNX file without the tensors {IMAGE!r} and {LOGITS!r}; {_REMEDY}")
    nodes = _needed(graph)
    read = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    ends = [infos[IMAGE]], [infos[LOGITS]]
    for info in (infos[IMAGE], infos[LOGITS]):
        for index, name in ((0, "batch"), (2, f"{info.name}_height"), (3, f"{info.name}_width")):
            info.type.tensor_type.shape.dim[index].dim_param = name
    cut = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "network", *ends, weights),
        opset_imports=whole.opset_import, ir_version=whole.ir_version,
    )  # fmt: skip
    return bytes(cut.SerializeToString())


def weights_hash(graph: "onnx.GraphProto") -> str:
    """SHA-256 over names, types, shapes and values of the weights of a graph, in the order of the names."""
    digest = hashlib.sha256()
    for tensor in sorted(graph.initializer, key=lambda each: each.name):
        digest.update(tensor.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _facts(text: str, path: Path) -> ExportFacts:
    try:
        return from_json(ExportFacts, json.loads(text), f"{path}: {FACTS} is wrong", _REMEDY)
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: {FACTS} is no JSON; {_REMEDY}") from error
    except DataError as error:
        raise ModelError(str(error)) from error


def _parsed(content: bytes, name: str) -> "tuple[onnx.GraphProto, dict[str, str]]":
    """The graph and the properties of a file."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ModelError(f"{name}: ONNX needs the package onnx, which is not installed; {_INSTALL}") from error
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise ModelError(f"{name}: no ONNX file, or damaged ({error}); {_REMEDY}") from error
    return model.graph, {each.key: each.value for each in model.metadata_props}


def _tensors(graph: "onnx.GraphProto") -> "Iterator[onnx.TensorProto]":
    """Every constant of a graph."""
    yield from graph.initializer
    for node in graph.node:
        yield from (each.t for each in node.attribute)
        for each in node.attribute:
            if each.HasField("g"):
                yield from _tensors(each.g)


def _needed(graph: "onnx.GraphProto") -> "list[onnx.NodeProto]":
    """The nodes that the logits depend on, in their order."""
    wanted, nodes = {LOGITS}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            nodes.append(node)
    return nodes[::-1]
