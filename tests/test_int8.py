"""Exports in int8: the arithmetic, what they are calibrated on, what is refused, and the laws of a run."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DATA, blocks, layer_bytes, read, record_of, write_raster
from torch import nn
from torch.nn import functional

from agriseg import SegmentationModel, load_model, segment
from agriseg.cli import main
from agriseg.demo.reference_models import nearest_level, random_network
from agriseg.errors import DataError, ModelError, UsageError
from agriseg.model_export.export import export_model
from agriseg.model_export.image_tiles import spread_tiles
from agriseg.model_export.int8 import with_int8_layers
from agriseg.model_export.onnx_export import map_graph
from agriseg.model_export.quantize import Int8Request
from agriseg.networks.onnx_file import logits_graph
from agriseg.options.run import RunOptions

onnx = pytest.importorskip("onnx", reason="optional: agriseg[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="optional: agriseg[export]")
pytest.importorskip("openvino", reason="optional: agriseg[export]")

BY_NUMBER = RunOptions(bands=(1, 2, 3), gsd="native")
NAIP = DATA / "naip_rgbn" / "20160816.tif"
RUNTIMES = ("onnxruntime", "openvino")


def logits_of(content: bytes, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(logits_graph(content), providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"image": image})
    return np.asarray(values)


def quantized(values: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Unsigned numbers of 8 bits between the smallest and the largest value seen, and back."""
    low, high = min(0.0, seen.min().item()), max(0.0, seen.max().item())
    step = (high - low) / 255
    zero = round(-low / step)
    return ((values / step).round() + zero).clamp(0, 255).sub(zero) * step


def seven_bits(conv: nn.Conv2d) -> torch.Tensor:
    """Signed numbers of 7 bits with a scale per channel, and back."""
    step = conv.weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 64
    return (conv.weight / step).round().clamp(-64, 64) * step


def random_chain(seed: int) -> tuple[SegmentationModel, nn.Sequential]:
    """A model of four convolutions with ReLU between them, of random widths and sides."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    widths = [3, *(int(each) for each in rng.integers(4, 12, 3)), 4]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        side = int(rng.choice([1, 3]))
        layers += [nn.Conv2d(before, after, side, padding=side // 2), nn.ReLU()]
    network = nn.Sequential(*layers[:-1]).eval()
    return replace(nearest_level(), network=network, name="chain"), network


@pytest.mark.parametrize("seed", range(4))
@torch.inference_mode()
def test_the_inner_layers_compute_with_eight_bits_and_the_others_in_fp32(seed: int) -> None:
    model, network = random_chain(seed)
    tiles = [torch.randn(1, 3, 24, 40, generator=torch.Generator().manual_seed(10 * seed + n)) for n in range(3)]
    content, inner, count = with_int8_layers(map_graph(model), [tile.numpy() for tile in tiles])
    assert (inner, count) == (2, 4)
    image = torch.randn(1, 3, 16, 48, generator=torch.Generator().manual_seed(99 + seed))
    x, seen = image, torch.cat(tiles)
    for number, layer in enumerate(network):
        if not isinstance(layer, nn.Conv2d):
            x, seen = layer(x), layer(seen)
            x = quantized(x, seen)
            continue
        is_inner = 0 < number < len(network) - 1
        weight = seven_bits(layer) if is_inner else layer.weight
        x = functional.conv2d(x, weight, layer.bias, padding=layer.padding)
        seen = layer(seen)
    got, plain = logits_of(content, image.numpy()), network(image).numpy()
    error, lost = np.abs(got - x.numpy()).mean(), np.abs(got - plain).mean()
    assert lost > 0
    assert error < 0.2 * lost  # a half that is rounded the other way now and then


def weights_by_layer(content: bytes) -> dict[str, np.ndarray]:
    """The stored weights of each convolution by its name, in order."""
    graph = onnx.ModelProto.FromString(content).graph
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    passing = ("DequantizeLinear", "Identity")
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type in passing}
    layers = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose")]
    return {node.name: stored[sources.get(node.input[1], node.input[1])] for node in layers}


@pytest.mark.parametrize("name", ["fcn_small", "unet_small", "unet_lite0", "fcn8s_resnet18", "pixel_mlp"])
def test_first_and_last_layers_keep_their_weights_and_inner_ones_have_seven_bits(name: str) -> None:
    model = random_network(name)
    side = -(-64 // model.step) * model.step
    image = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
    before = map_graph(model)
    content, inner, count = with_int8_layers(before, [image])
    plain, made = weights_by_layer(before), weights_by_layer(content)
    assert made.keys() == plain.keys()
    assert len(made) == count
    small = {layer for layer, weights in made.items() if weights.dtype == np.int8}
    assert len(small) == inner > count / 4
    assert not small & {next(iter(plain)), list(plain)[-1]}
    for layer, weights in made.items():
        if layer in small:
            assert np.abs(weights.astype(int)).max() <= 64
        else:
            assert np.array_equal(weights, plain[layer])
    assert {node.domain for node in onnx.ModelProto.FromString(content).graph.node} == {""}
    assert np.isfinite(logits_of(content, image)).all()


def test_a_network_without_inner_layers_is_refused(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    image = write_raster(tmp_path / "a.tif", blocks(256, 256))
    with pytest.raises(ModelError, match="2 layers, none between the first and the last; leave out --int8"):
        export_model(replace(nearest_level(), network=network), "onnx", tmp_path / "m.onnx", 64, None, int8(image))


def int8(*images: Path, **options: Any) -> Int8Request:
    return Int8Request(images, **options)


def numbered(path: Path, height: int, width: int, first: int) -> Path:
    """A raster whose first band numbers the pixels, from a number on; a corner of it is nodata, -1."""
    pixels = np.arange(first, first + height * width, dtype=np.float64).reshape(1, height, width).repeat(3, 0)
    pixels[:, : height // 2, : width // 3] = -1
    return write_raster(path, pixels, nodata=-1)


def test_tiles_are_those_of_a_run_apart_from_each_other_and_spread(tmp_path: Path) -> None:
    sizes = {"a.tif": (700, 500), "b.tif": (300, 900)}
    images = [numbered(tmp_path / name, *size, 10**6 * (n + 1)) for n, (name, size) in enumerate(sizes.items())]
    model = replace(nearest_level(), mean=(1.2e6, 1.5e6, 1.8e6), std=(2e5, 4e5, 8e5))
    tiles = spread_tiles(model, images, BY_NUMBER, 64, 40)
    seen: list[np.ndarray] = []
    for tile in tiles:
        assert tile.pixels.shape == (1, 3, 64, 64)
        assert tile.valid.any()
        for band, (mean, std) in enumerate(zip(model.mean, model.std, strict=True)):
            assert not tile.pixels[0, band][~tile.valid].any()
            stored = tile.pixels[0, band][tile.valid].astype(np.float64) * std + mean
            numbers = np.rint(stored).astype(int)
            assert np.allclose(stored, numbers, atol=0.3)
            if band == 0:
                seen.append(numbers)
    together = np.concatenate(seen)
    assert len(np.unique(together)) == len(together)
    for n, size in enumerate(sizes.values()):
        inside = together[(together >= 10**6 * (n + 1)) & (together < 10**6 * (n + 2))] - 10**6 * (n + 1)
        rows, cols = inside // size[1], inside % size[1]
        assert not ((rows < size[0] // 2) & (cols < size[1] // 3)).any()
        for axis, length in ((rows, size[0]), (cols, size[1])):
            assert axis.min() < length / 3
            assert axis.max() > 2 * length / 3
    again = spread_tiles(model, images, BY_NUMBER, 64, 40)
    assert all(np.array_equal(one.pixels, two.pixels) for one, two in zip(tiles, again, strict=True))


@pytest.fixture(scope="module")
def potato(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("int8") / "potato.onnx"
    export_model(load_model("potato-weed"), "onnx", file, 160, None, int8(NAIP, options=BY_NUMBER))
    return file


def test_a_real_raster_gets_the_labels_of_torch(tmp_path: Path, potato: Path) -> None:
    flags = {"precision": "fp32", "gsd": "native", "tile": 256, "bands": (1, 2, 3)}
    wanted = read(segment(NAIP, "potato-weed", tmp_path / "torch", backend="torch", **flags).classes)
    assert np.count_nonzero(np.bincount(wanted.ravel(), minlength=256)[:255] > 1000) > 1
    for runtime in RUNTIMES:
        got = read(segment(NAIP, potato, tmp_path / runtime, backend=runtime, **flags).classes)
        assert 0.99 <= np.mean(got == wanted) < 1
        assert record_of(tmp_path / runtime)["parameters"]["precision"].startswith(f"int8 and fp32 in {runtime} ")


def test_the_file_says_what_it_was_calibrated_on_and_what_it_loses(potato: Path) -> None:
    (text,) = [each.value for each in onnx.load(potato).metadata_props if each.key == "agriseg_export"]
    facts = json.loads(text)["int8"]
    assert facts["images"] == [NAIP.name]
    assert (facts["layers"], facts["all_layers"]) == (17, 19)
    assert facts["tiles"] >= 6
    assert facts["pixels"] > 20_000
    assert 0.99 <= facts["equal"] <= 1
    assert facts["mean_iou"] is None
    weights = sum(onnx.numpy_helper.to_array(each).nbytes for each in onnx.load(potato).graph.initializer)
    assert weights < 0.3 * 4 * sum(each.numel() for each in load_model("potato-weed").network.parameters())


@pytest.fixture(scope="module")
def eight_bit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small` with layers in int8."""
    folder = tmp_path_factory.mktemp("int8")
    image = write_raster(folder / "a.tif", blocks(256, 256))
    export_model(random_network("fcn_small"), "onnx", folder / "m.onnx", 64, None, int8(image, force=True))
    return folder / "m.onnx"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_bytes_are_the_same_however_the_run_is_cut(tmp_path: Path, eight_bit: Path, runtime: str) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(330, 290, low=1), nodata=0)
    cuts = [{}, {"batch": 3}, {"threads": 1}, {"threads": 4, "band_rows": 2}, {"band_rows": 9, "batch": 5}]
    written = []
    for number, cut in enumerate(cuts):
        flags = {"tile": 96, "overlap": 48, "margin": 16, "gsd": "native", "backend": runtime, "probabilities": True}
        segment(image, eight_bit, tmp_path / str(number), **flags, **cut)
        written.append(layer_bytes(tmp_path / str(number)))
    assert all(each == written[0] for each in written[1:])


def test_a_worker_process_writes_the_same_bytes(
    tmp_path: Path, eight_bit: Path, agriseg_cli: Callable[..., Any]
) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(330, 290, low=1), nodata=0)
    flags = ("-m", eight_bit, "--tile", 96, "--overlap", 48, "--cpu-threads", 1)
    for out, workers in (("one", ()), ("two", ("--workers", 1))):
        ended = agriseg_cli("run", image, "-o", tmp_path / out, *flags, *workers)
        assert ended.code == 0, ended.err
    assert layer_bytes(tmp_path / "two") == layer_bytes(tmp_path / "one")


class Outlier(nn.Module):
    """Passes two numbers of a pixel on, one of them some thousand times larger, and decides by the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(*sizes, 1, bias=False) for sizes in ((3, 2), (2, 2), (2, 4))))
        for layer, weights in zip(
            self.layers,
            (
                [[1.0, 0, 0], [0, 9000.0, 0]],
                [[1.0, 0], [0, 1.0]],
                [[k, 0.0] for k in (-2.0, -1, 1, 2)],
            ),
            strict=True,
        ):
            layer.weight.data = torch.tensor(weights)[..., None, None]
        self.layers[2].bias = nn.Parameter(torch.tensor([-1.5, 0, 0, -1.5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_labels_that_int8_loses_are_refused_unless_forced(tmp_path: Path) -> None:
    model = replace(nearest_level(), network=Outlier(), scale=1 / 32, mean=(4.0, 4.0, 4.0), std=(1.0, 1.0, 1.0))
    image = write_raster(tmp_path / "a.tif", blocks(400, 400))
    folder = tmp_path / "out"
    folder.mkdir()
    remedy = r"expected at most 1%; give more --calibrate images .* fp32 export; --force"
    with pytest.raises(ModelError, match=rf"another label at \d+\.\d\d% of [\d,]+ held-back pixels, {remedy}"):
        export_model(model, "onnx", folder / "m.onnx", 64, None, int8(image))
    assert list(folder.iterdir()) == []
    made = export_model(model, "onnx", folder / "m.onnx", 64, None, int8(image, force=True))
    assert made.int8 is not None
    assert made.int8.equal < 0.99
    assert made.parities[0].equal == made.int8.equal
    plain = export_model(model, "onnx", folder / "fp32.onnx", 64)
    assert plain.parities[0].equal >= 0.999


@pytest.mark.parametrize("after", [0.7899, 0.0, float("nan")])
def test_a_lower_mean_iou_is_refused(tmp_path: Path, after: float) -> None:
    model = load_model("vegetation")
    scores = {True: 0.8, False: after}
    request = int8(DATA / "photograph" / "coffee_leaf.jpg", mean_iou=lambda each: scores[each.path == model.path])
    with pytest.raises(ModelError, match=r"lowers the mean IoU from 0.8000 to .*, expected at most 0.01 less"):
        export_model(model, "onnx", tmp_path / "m.onnx", 64, None, request)
    assert list(tmp_path.iterdir()) == []
    scores[False] = 0.7901
    made = export_model(model, "onnx", tmp_path / "m.onnx", 64, None, request)
    assert made.int8 is not None
    assert made.int8.mean_iou == (0.8, 0.7901)


def test_the_command_scores_both_models_on_labelled_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = write_raster(tmp_path / "a.tif", blocks(300, 300, side=20))
    labels = read(segment(image, "vegetation", tmp_path / "map", backend="torch", precision="fp32").classes)
    write_raster(tmp_path / "labels.tif", labels)
    command = ["export", "-m", "vegetation", "--to", "openvino", "--int8", "--tile", "64", "--calibrate", str(image)]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--validation", str(image), "labels.tif"])
    said = capsys.readouterr().out
    assert not ended.value.code
    assert said.startswith("vegetation_int8.xml (")
    assert "1 of 3 layers in int8, calibrated on 18 tiles; mean IoU 0.9" in said
    assert "on the validation data, 1.0000 in fp32" in said
    assert (tmp_path / "vegetation_int8.bin").is_file()


def test_requests_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(128, 128))
    with pytest.raises(UsageError, match="--int8 with --to torch-export, expected onnx or openvino"):
        export_model(random_network("fcn_small"), "torch-export", tmp_path / "m.pt2", None, None, int8(image))
    with pytest.raises(DataError, match="hold 4 tiles of 64 x 64 px with data, expected at least 8; give more images"):
        export_model(random_network("fcn_small"), "onnx", tmp_path / "m.onnx", 64, None, int8(image))
    for flags, said in (
        (["--int8"], "--int8 without images to find the range of the numbers on; add --calibrate IMAGE"),
        (["--calibrate", str(image)], "--calibrate, --validation, --bands, --nodata and --force belong to --int8"),
        (["--force"], "belong to --int8"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["export", "-m", "vegetation", "--to", "onnx", "-o", str(tmp_path / "m.onnx"), *flags])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
