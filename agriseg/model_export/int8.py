"""The inner layers of an ONNX graph in int8: static quantisation of weights and activations (ONNX Runtime).

Convolutions with a convolution before and one behind them are inner layers. The first layers, which see the pixels, and
the last ones, which decide, stay in fp32, and so does all before and behind them. Weights are signed numbers of 7 bits
with a scale per channel: sums of two products then fit in the 16 bits in which processors without VNNI add them, and
every processor gets the same numbers. Activations are unsigned numbers of 8 bits between the smallest and the largest
value seen in the calibration (Jacob et al. 2018, arXiv 1712.05877).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from agriseg.errors import ModelError, UsageError
from agriseg.model_export.parity import Images
from agriseg.networks.onnx_file import IMAGE, LOGITS, Int8Facts

if TYPE_CHECKING:
    import onnx

_LAYERS = ("Conv", "ConvTranspose")
_INT8 = ("Conv", "Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Resize")
"""Operators that runtimes have for int8: the layers, and what lies between them, lest numbers are converted there."""
_CHECKED = ("onnx.quant.pre_process", "onnxruntime.quant")  # or ONNX Runtime would advise to fold what is folded


@dataclass(frozen=True)
class Int8Graph:
    """A graph with layers in int8, from `IMAGE` over `LOGITS`, and what is known of it."""

    content: bytes
    facts: Int8Facts


def with_int8_layers(content: bytes, tiles: Sequence[Images]) -> tuple[bytes, int, int]:
    """The graph of an export with its inner layers in int8; tensors keep their names.

    Returns:
        The graph, the number of its layers in int8, and of all its layers.

    Args:
        content: an ONNX file from `IMAGE` over `LOGITS`, without properties.
        tiles: to calibrate with, (1, C, h, w) each.

    Raises:
        ModelError: the network has no inner layer.
        UsageError: ONNX Runtime is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_static
    except ImportError as error:
        raise UsageError("--int8 needs onnx and ONNX Runtime; pip install 'agriseg[export]'") from error
    file = onnx.ModelProto.FromString(content)
    _unshare(file.graph)
    layers = [node for node in file.graph.node if node.op_type in _LAYERS]
    inner = list(_inner(file.graph))
    count = sum(node.op_type == "Conv" for node in inner)
    if not count:
        raise ModelError(f"its network has {len(layers)} layers, none between the first and the last; leave out --int8")
    onnx.helper.set_model_props(file, dict([_CHECKED]))
    with TemporaryDirectory(prefix="agriseg-") as folder:
        before, after = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(file.SerializeToString())
        quantize_static(
            before, after, _reader(tiles), op_types_to_quantize=list(_INT8),
            nodes_to_quantize=[node.name for node in inner], per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        made = onnx.ModelProto.FromString(after.read_bytes())
    del made.metadata_props[:]
    del made.graph.value_info[:]
    made.graph.value_info.extend(info for info in file.graph.value_info if info.name == LOGITS)
    return bytes(made.SerializeToString()), count, len(layers)


def _inner(graph: "onnx.GraphProto") -> "Iterator[onnx.NodeProto]":
    """Nodes that can be in int8, with a layer before and a layer behind them."""
    below: set[str] = set()  # tensors that a layer gave, or what came of these
    for node in graph.node:
        if node.op_type in _LAYERS or below.intersection(node.input):
            below.update(node.output)
    above: set[str] = set()  # tensors that go into a layer, sooner or later
    for node in reversed(graph.node):
        if node.op_type in _LAYERS or above.intersection(node.output):
            above.update(node.input)
    for node in graph.node:
        if node.op_type in _INT8 and below.intersection(node.input) and above.intersection(node.output):
            yield node


def _unshare(graph: "onnx.GraphProto") -> None:
    """Give each weight that equals another, and is an Identity of it, a tensor of its own: only those are quantised."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Identity" and node.input[0] in weights]:
        weights[node.output[0]] = copy = graph.initializer.add()
        copy.CopyFrom(weights[node.input[0]])
        copy.name = node.output[0]
        graph.node.remove(node)


def _reader(tiles: Sequence[Images]) -> object:
    """What ONNX Runtime takes tiles from, one at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Tiles(CalibrationDataReader):  # type: ignore[misc]  # mypy does not follow the package
        left = iter(tiles)

        def get_next(self) -> dict[str, Images] | None:
            tile = next(self.left, None)
            return None if tile is None else {IMAGE: tile}

    return Tiles()
