"""Exported models: other programs get the labels of torch, agriseg takes its own files back, and refuses others."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from conftest import DATA, blocks, layer_bytes, read, write_raster
from torch.nn import functional

from agriseg import SegmentationModel, load_model, segment
from agriseg.cli import main
from agriseg.cli.export import command
from agriseg.demo.reference_models import nearest_level, random_network
from agriseg.errors import DataError, ModelError, UsageError
from agriseg.export.stac_model import write_model_item
from agriseg.model_export import parity
from agriseg.model_export.export import TARGETS, export_model
from agriseg.networks.onnx_file import weights_hash

onnx = pytest.importorskip("onnx", reason="optional: agriseg[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="optional: agriseg[export]")
openvino = pytest.importorskip("openvino", reason="optional: agriseg[export]")

PHOTOGRAPH = DATA / "photograph" / "coffee_leaf.jpg"
NAIP = DATA / "naip_rgbn" / "20160816.tif"


def as_deepness(file: Path, pixels: np.ndarray) -> np.ndarray:
    """Classes (H, W) of stored pixels (C, H, W), by the rules of Deepness alone, in ONNX Runtime alone.

    The tile is what the input's shape says; tiles overlap, each decides its middle, those at the edge also their edge;
    beyond the raster there are zeros; a probability below the threshold counts as 0; the largest wins.
    """
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    known = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert known["model_type"].capitalize() == "Segmentor"
    (entry,), (result,) = session.get_inputs(), session.get_outputs()
    channels, side, wide = entry.shape[1:]
    assert side == wide == known["tile_size"]
    assert result.shape[2] == result.shape[3] == side
    assert [name for name, _ in sorted(known["class_names"].items(), key=lambda item: int(item[0]))] == [
        str(k) for k in range(result.shape[1])
    ]
    overlap = int(side * known["tiles_overlap"] / 100 * 2) // 2
    step, height, width = side - overlap, *pixels.shape[1:]
    rows, cols = (max(0, -(-(size - side) // step)) + 1 for size in (height, width))
    padded = np.zeros((channels, (rows - 1) * step + side, (cols - 1) * step + side), pixels.dtype)
    padded[:, :height, :width] = pixels
    classes = np.zeros(padded.shape[1:], np.uint8)
    mean, std = (np.float32(known[f"standardization_{name}"])[:, None, None] for name in ("mean", "std"))
    half = overlap // 2
    for row in range(rows):
        for col in range(cols):
            top, left = row * step, col * step
            tile = np.float32(padded[:, top : top + side, left : left + side] * 1.0 / 255.0)
            shares = session.run(None, {entry.name: np.float32((tile - mean) / std)[None]})[0]
            assert np.allclose(shares.sum(1), 1, atol=1e-4)
            shares[shares < known["seg_thresh"]] = 0
            begin = top + half * (row > 0), left + half * (col > 0)
            end = top + side - half * (row + 1 < rows), left + side - half * (col + 1 < cols)
            own = shares[0].argmax(0)[begin[0] - top : end[0] - top, begin[1] - left : end[1] - left]
            classes[begin[0] : end[0], begin[1] : end[1]] = own
    return classes[:height, :width]


@torch.inference_mode()
def as_torch(model: SegmentationModel, pixels: np.ndarray) -> np.ndarray:
    """Classes (H, W) of one forward over all pixels (C, H, W), padded with zeros as Deepness does."""
    height, width = pixels.shape[1:]
    padded = np.pad(pixels, ((0, 0), (0, -height % model.step), (0, -width % model.step)))
    valid = torch.ones(padded.shape[1:], dtype=torch.bool)
    logits = model.network.eval()(model.normalization(torch.from_numpy(padded), valid)[None])
    logits = functional.interpolate(logits, size=padded.shape[1:], mode="bilinear", align_corners=False)
    return logits[0, :, :height, :width].argmax(0).numpy().astype(np.uint8)


def rgb(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read((1, 2, 3))


def test_deepness_gets_the_labels_of_the_bundled_model_on_a_real_tile(tmp_path: Path) -> None:
    model, file = load_model("potato-weed"), tmp_path / "potato.onnx"
    export_model(model, "onnx", file, 480)
    pixels = rgb(NAIP)
    wanted, got = as_torch(model, pixels), as_deepness(file, pixels)
    counts = np.bincount(wanted.ravel())
    assert np.count_nonzero(counts > 1000) > 1, counts
    assert np.mean(wanted == got) >= 0.999


@pytest.mark.parametrize(("name", "temperature"), [("fcn_small", 2.5), ("pixel_mlp/2", 0.3)])
def test_deepness_gets_the_labels_of_a_whole_raster(tmp_path: Path, name: str, temperature: float) -> None:
    """Half the overlap is more than these networks see, and so are 64 px from the zeros beyond the raster."""
    model = replace(random_network(name), temperature=temperature, scale=1 / 510, mean=(0.2, 0.25, 0.3))
    export_model(model, "onnx", tmp_path / "m.onnx", 480)
    pixels = blocks(700, 910)
    equal = as_torch(model, pixels) == as_deepness(tmp_path / "m.onnx", pixels)
    assert np.mean(equal[:-64, :-64]) >= 0.999


def test_labels_of_another_model_are_found(tmp_path: Path) -> None:
    export_model(random_network("fcn_small", seed=1), "onnx", tmp_path / "m.onnx", 128)
    pixels = blocks(128, 128)
    assert np.mean(as_torch(random_network("fcn_small"), pixels) == as_deepness(tmp_path / "m.onnx", pixels)) < 0.9


def properties(file: Path) -> dict[str, Any]:
    return {each.key: json.loads(each.value) for each in onnx.load(file).metadata_props}


def test_the_file_says_what_deepness_reads_and_what_agriseg_needs(tmp_path: Path) -> None:
    model = replace(random_network("fcn_small"), gsd=0.025, temperature=1.5)
    export_model(model, "onnx", tmp_path / "m.onnx", 64)
    known = properties(tmp_path / "m.onnx")
    assert known["class_names"] == {str(k): name for k, name in enumerate(model.legend.names)}
    assert known["resolution"] == pytest.approx(2.5)
    assert known["agriseg"]["bands"] == list(model.bands)
    assert known["agriseg"]["temperature"] == 1.5
    assert known["agriseg_export"]["fingerprint"] == model.fingerprint


def test_a_model_that_normalizes_by_the_raster_is_not_offered_to_deepness(tmp_path: Path) -> None:
    export_model(load_model("vegetation"), "onnx", tmp_path / "m.onnx", 512)
    assert properties(tmp_path / "m.onnx").keys() == {"agriseg", "agriseg_export"}


@pytest.mark.parametrize("tile", [None, 96])
@pytest.mark.parametrize("name", ["fcn_small", "unet_lite0/2"])
def test_agriseg_maps_with_its_export_as_with_the_model(tmp_path: Path, name: str, tile: int | None) -> None:
    model, file = random_network(name), tmp_path / "m.onnx"
    side = None if tile is None else -(-tile // model.step) * model.step
    export_model(model, "onnx", file, side)
    image = write_raster(tmp_path / "a.tif", blocks(330, 290, low=1), nodata=0)
    for runtime in ("onnxruntime", "openvino"):
        flags = {"tile": 192, "overlap": 64, "precision": "fp32", "probabilities": True, "backend": runtime}
        segment(image, model, tmp_path / f"{runtime} model", **flags)
        segment(image, load_model(file), tmp_path / f"{runtime} file", **flags)
        layers = [layer_bytes(tmp_path / f"{runtime} {kind}") for kind in ("model", "file")]
        for layer in ("a_classes.tif", "a_confidence.tif", "a_probabilities.tif"):
            ours, theirs = (read(tmp_path / f"{runtime} {kind}" / layer) for kind in ("model", "file"))
            assert np.array_equal(ours, theirs), layer
        assert len(layers[0]) == len(layers[1])


def test_a_model_that_normalizes_by_the_raster_maps_from_its_export(tmp_path: Path) -> None:
    export_model(load_model("vegetation"), "onnx", tmp_path / "v.onnx", None, PHOTOGRAPH)
    reports = [
        segment(PHOTOGRAPH, model, tmp_path / out, precision="fp32", gsd="native")
        for out, model in (("a", "vegetation"), ("b", tmp_path / "v.onnx"))
    ]
    assert np.mean(read(reports[0].classes) == read(reports[1].classes)) >= 0.998
    items = [json.loads(write_model_item(report.record).read_text()) for report in reports]
    assert [item["properties"]["mlm:framework"] for item in items] == ["PyTorch", "ONNX"]


@pytest.mark.parametrize("target", ["openvino", "torch-export"])
def test_other_formats_give_the_labels_for_any_size(tmp_path: Path, target: str) -> None:
    path = tmp_path / {"openvino": "m.xml", "torch-export": "m.pt2"}[target]
    model = random_network("unet_small")
    made = export_model(model, target, path, None)
    assert {each.name for each in tmp_path.iterdir()} == {each.name for each in made.files}
    assert made.files[0] == path
    assert [each.equal >= 0.999 for each in made.parities] == [True, True]
    x = np.random.default_rng(0).normal(size=(3, 3, 96, 160)).astype(np.float32)
    with torch.inference_mode():
        logits = functional.interpolate(model.network(torch.from_numpy(x)), scale_factor=model.stride, mode="bilinear")
    if target == "openvino":
        read_back = openvino.Core().read_model(path)
        assert json.loads(read_back.get_rt_info(["agriseg"]).astype(str))["bands"] == ["red", "green", "blue"]
        shares = openvino.Core().compile_model(read_back, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
    else:
        program = torch.export.load(path, extra_files=(metadata := {"agriseg": ""}))
        assert json.loads(metadata["agriseg"])["bands"] == ["red", "green", "blue"]
        shares = program.module()(torch.from_numpy(x))[1].detach().numpy()
    assert shares.shape == (3, 4, 96, 160)
    assert np.mean(shares.argmax(1) == logits.argmax(1).numpy()) >= 0.999


def test_an_export_with_other_labels_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = parity.compare

    def turned(model: Any, backend: Any, run: Any, name: str, images: np.ndarray) -> parity.Parity:
        return plain(model, backend, lambda image: run(image)[:, ::-1], name, images)

    monkeypatch.setattr(parity, "compare", turned)
    with pytest.raises(ModelError, match=r"another label at \d+\.\d+% of the pixels of random tiles"):
        export_model(random_network("fcn_small"), "onnx", tmp_path / "m.onnx", 64)
    assert list(tmp_path.iterdir()) == []


def test_real_tiles_are_compared_too(tmp_path: Path) -> None:
    made = export_model(load_model("potato-weed"), "onnx", tmp_path / "m.onnx", 128, PHOTOGRAPH)
    assert [each.tiles for each in made.parities] == ["random", PHOTOGRAPH.name]
    assert made.parities[1].pixels == 4 * 128 * 128
    with pytest.raises(DataError, match="no tile of 4096 x 4096 px with data"):
        parity.raster_tiles(load_model("potato-weed"), PHOTOGRAPH, 4096)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    export_model(random_network("fcn_small"), "onnx", tmp_path / "m.onnx", 64)
    return tmp_path / "m.onnx"


def without(name: str) -> Any:
    def change(model: Any) -> None:
        kept = [(each.key, each.value) for each in model.metadata_props if each.key != name]
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, dict(kept))

    return change


def another_weight(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.raw_data = bytes([tensor.raw_data[0] ^ 64]) + tensor.raw_data[1:]


def weights_elsewhere(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")


def facts(model: Any, **change: Any) -> None:
    known = {each.key: each.value for each in model.metadata_props}
    known["agriseg_export"] = json.dumps({**json.loads(known["agriseg_export"]), **change})
    onnx.helper.set_model_props(model, known)


def fewer_bands(model: Any) -> None:
    known = {each.key: each.value for each in model.metadata_props}
    values = json.loads(known["agriseg"])
    known["agriseg"] = json.dumps({**values, **{name: values[name][:2] for name in ("bands", "mean", "std")}})
    onnx.helper.set_model_props(model, known)


def no_logits(model: Any) -> None:
    del model.graph.value_info[:]


def other_operator(model: Any) -> None:
    model.graph.node[0].domain = "com.example"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("agriseg"), "without agriseg's bands, legend and scale; export the model again"),
        (without("agriseg_export"), "without agriseg's bands, legend and scale"),
        (another_weight, "the weights are not those that were exported; copy the file again"),
        (weights_elsewhere, "has tensors in other files"),
        (other_operator, "operators outside of ONNX"),
        (
            lambda model: facts(model, memory_per_pixel="much"),
            "agriseg_export is wrong, 'memory_per_pixel' is damaged; export the model again",
        ),
        (fewer_bands, "network"),
        (no_logits, "without the tensors 'image' and 'logits'"),
    ],
)
def test_a_file_that_is_no_export_is_refused(exported: Path, change: Any, said: str) -> None:
    model = onnx.load(exported)
    change(model)
    exported.write_bytes(model.SerializeToString())
    image = write_raster(exported.parent / "a.tif", blocks(64, 64))
    with pytest.raises(ModelError, match=said):
        segment(image, load_model(exported), exported.parent / "out", bands=(1, 2, 3) if said != "network" else (1, 2))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04.", b"\xff" * 99])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx: (no ONNX file, or damaged|an ONNX file without)"):
        load_model(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="no such model file"):
        load_model(tmp_path / "other.onnx")


def test_torch_does_not_run_a_file_and_nothing_saves_it(exported: Path) -> None:
    image = write_raster(exported.parent / "a.tif", blocks(64, 64))
    with pytest.raises(ModelError, match="torch does not run ONNX files; use --backend openvino or onnxruntime"):
        segment(image, load_model(exported), exported.parent / "out", backend="torch")
    with pytest.raises(ModelError, match="use --backend"):
        load_model(exported).network(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ModelError, match="cannot be saved"):
        load_model(exported).save(exported.parent / "m.safetensors")
    with pytest.raises(ModelError, match=r"an export already; give the \.safetensors"):
        export_model(load_model(exported), "openvino", exported.parent / "m.xml", None)


def test_the_fingerprint_is_that_of_the_file(tmp_path: Path) -> None:
    for seed in (0, 1):
        export_model(random_network("fcn_small", seed=seed), "onnx", tmp_path / f"{seed}.onnx", 64)
    one, other = (load_model(tmp_path / f"{seed}.onnx").fingerprint for seed in (0, 1))
    assert one == load_model(tmp_path / "0.onnx").fingerprint != other
    graphs = [onnx.load(tmp_path / f"{seed}.onnx").graph for seed in (0, 1)]
    assert weights_hash(graphs[0]) != weights_hash(graphs[1])


@pytest.mark.parametrize(
    ("name", "tile", "said"),
    [("m.xml", 64, "ends in .onnx"), ("m.onnx", 63, "multiple of 2"), ("m.onnx", 0, "multiple of 2")],
)
def test_a_request_that_makes_no_sense_is_refused(tmp_path: Path, name: str, tile: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        export_model(random_network("fcn_small"), "onnx", tmp_path / name, tile)


def test_the_command_prints_the_comparison(
    tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["export", "-m", str(model_file), "--to", "onnx", "--tile", "64"])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert list(command.params[1].type.choices) == list(TARGETS) == ["onnx", "openvino", "torch-export"]
    assert said.startswith("small.onnx (0.2 MB): takes tiles of 64 x 64 px\nrandom tiles, 8,192 px: 100.000% of the")
    with pytest.raises(SystemExit) as ended:
        main(["export", "-m", str(model_file), "--to", "onnx"])
    assert ended.value.code == 73
    with pytest.raises(SystemExit) as ended:
        main(["export", "-m", str(model_file), "--to", "onnx", "--overwrite", "--json", "--tile", "any"])
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made["files"] == ["small.onnx"]
    assert made["tile"] is None


def test_a_network_of_ones_own_is_exported_too(tmp_path: Path) -> None:
    export_model(nearest_level(), "onnx", tmp_path / "m.onnx", 32)
    pixels = blocks(70, 90)
    assert np.array_equal(as_deepness(tmp_path / "m.onnx", pixels), as_torch(nearest_level(), pixels))
