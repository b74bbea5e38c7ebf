"""Each runtime gives the labels of torch, the same bytes however a run is cut, and goes on after a stop."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DATA, blocks, layer_bytes, read, record_of, write_raster

from agriseg import SegmentationModel, segment
from agriseg.backends import choose_backend as choosing
from agriseg.backends.backend import Backend
from agriseg.backends.choose_backend import choose_backend
from agriseg.backends.onnx_graph import network_graph
from agriseg.demo.reference_models import nearest_level, random_network
from agriseg.errors import ModelError, UsageError
from agriseg.mapping.prepare import prepare
from agriseg.networks import ARCHITECTURES
from agriseg.options.run import RunOptions

RUNTIMES = ("onnxruntime", "openvino")
pytest.importorskip("onnx", reason="optional: agriseg[export]")
pytest.importorskip("onnxruntime", reason="optional: agriseg[export]")
pytest.importorskip("openvino", reason="optional: agriseg[export]")

TILE = {"tile": 96, "overlap": 48, "margin": 16}


class Stop(KeyboardInterrupt):
    """As Ctrl-C does."""


def backend_of(model: SegmentationModel, runtime: str, **options: Any) -> Backend:
    return choose_backend(model, RunOptions(backend=runtime, device="cpu", **{"precision": "fp32", **options}))


def labels_and_error(model: SegmentationModel, logits: torch.Tensor, x: torch.Tensor) -> tuple[float, float]:
    """Share of equal labels with torch's fp32, and the largest difference as a share of the spread of the logits.

    Each class is shifted by its median, so that all classes occur.
    """
    with torch.inference_mode():
        wanted = model.network.eval()(x)
    middle = wanted.flatten(2).median(2).values.mean(0)[None, :, None, None]
    labels = [(each - middle).argmax(1) for each in (logits, wanted)]
    assert labels[1].unique().numel() > 1
    return (labels[0] == labels[1]).float().mean().item(), ((logits - wanted).abs().max() / wanted.std()).item()


DEEPER = ("fcn_resnet101", "fcn8s_resnet50", "unet_resnet50")
"""Networks of the layers of a smaller one, more of them."""


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=[pytest.mark.long] if name in DEEPER else []) for name in ARCHITECTURES),
        "unet_lite0/2",
        "pixel_mlp/3",
    ],
)
def test_every_architecture_gives_the_labels_of_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_network(name)
    graph = network_graph(model)
    monkeypatch.setattr(choosing, "network_graph", lambda _model: graph)  # traced once for both
    sides = [-(-side // model.step) * model.step for side in (64, 96)]
    x = model.normalization(torch.from_numpy(blocks(*sides)), torch.ones(*sides, dtype=torch.bool))[None]
    batch = torch.cat([x, x.flip(3)]).contiguous(memory_format=torch.channels_last)
    for runtime in RUNTIMES:
        logits = backend_of(model, runtime).logits(batch)
        equal, error = labels_and_error(model, logits, batch)
        assert equal >= 0.998, (runtime, equal)
        assert error < 1e-3, (runtime, error)


def test_labels_of_another_network_are_found() -> None:
    model, other = random_network("fcn_small"), random_network("fcn_small", seed=1)
    x = torch.randn(1, 3, 64, 64)
    equal, error = labels_and_error(model, backend_of(other, "onnxruntime").logits(x), x)
    assert equal < 0.9
    assert error > 0.1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_of_ones_own_and_orientations_run_too(tmp_path: Path, runtime: str) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(200, 230, low=1), nodata=0)
    flags = {"tta": "flips", "precision": "fp32", "tile": 96}
    plain = segment(image, nearest_level(), tmp_path / "torch", backend="torch", **flags)
    other = segment(image, nearest_level(), tmp_path / "other", backend=runtime, **flags)
    assert np.array_equal(read(plain.classes), read(other.classes))
    how = record_of(tmp_path / "other")["parameters"]["precision"]
    assert how.startswith(f"fp32 in {runtime} ")
    assert how.endswith(", mean of 4 orientations")


@pytest.mark.parametrize("name", ["potato-weed", "vegetation"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bundled_models_map_a_real_raster_as_torch_does(tmp_path: Path, runtime: str, name: str) -> None:
    flags = {"precision": "fp32", "gsd": "native", "bands": (1, 2, 3), "tile": 256}
    image = DATA / "naip_rgbn" / "20160816.tif"
    maps = [
        read(segment(image, name, tmp_path / backend, backend=backend, **flags).classes)
        for backend in ("torch", runtime)
    ]
    assert np.mean(maps[0] == maps[1]) >= 0.998
    assert np.count_nonzero(np.bincount(maps[0].ravel(), minlength=256)[:255] > 1000) > 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_bytes_are_the_same_however_the_run_is_cut(tmp_path: Path, small: SegmentationModel, runtime: str) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(330, 290, low=1), nodata=0)
    cuts = [{}, {"batch": 3}, {"threads": 1}, {"threads": 4, "band_rows": 2}, {"band_rows": 9, "batch": 5}]
    written = []
    for number, cut in enumerate(cuts):
        out = tmp_path / str(number)
        segment(image, small, out, backend=runtime, probabilities=True, **TILE, **cut)
        written.append(layer_bytes(out))
    assert all(each == written[0] for each in written[1:])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    tmp_path: Path, small: SegmentationModel, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(330, 290, low=1), nodata=0)
    flags = {"backend": runtime, **TILE}
    kind = type(backend_of(small, runtime))
    plain, ran = kind.logits, []

    def counted(self: Any, x: torch.Tensor) -> torch.Tensor:
        ran.append(len(x))
        if len(ran) == stop:
            raise Stop
        return plain(self, x)

    stop = -1
    monkeypatch.setattr(kind, "logits", counted)
    segment(image, small, tmp_path / "straight", **flags)
    straight = len(ran)
    stop = straight + 12
    with pytest.raises(Stop):
        segment(image, small, tmp_path / "again", **flags)
    segment(image, small, tmp_path / "again", **flags)
    assert layer_bytes(tmp_path / "again") == layer_bytes(tmp_path / "straight")
    assert len(ran) == 2 * straight + 2  # the tile that was stopped, and a trial for the second start


def test_a_worker_process_writes_the_same_bytes(
    tmp_path: Path, model_file: Path, agriseg_cli: Callable[..., Any]
) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(330, 290, low=1), nodata=0)
    flags = ("-m", model_file, "--backend", "onnxruntime", "--tile", 96, "--overlap", 48, "--cpu-threads", 1)
    for out, workers in (("one", ()), ("two", ("--workers", 1))):
        ended = agriseg_cli("run", image, "-o", tmp_path / out, *flags, *workers)
        assert ended.code == 0, ended.err
    assert layer_bytes(tmp_path / "two") == layer_bytes(tmp_path / "one")


def test_another_runtime_is_another_run(tmp_path: Path, small: SegmentationModel) -> None:
    from agriseg.mapping.record import identity_of

    image = write_raster(tmp_path / "a.tif", blocks(96, 96))
    runtimes = ("torch", *RUNTIMES)
    keys = {identity_of(prepare(image, small, RunOptions(backend=each, precision="fp32"))).key for each in runtimes}
    assert len(keys) == 3
    automatic = prepare(image, small, RunOptions(precision="fp32"))
    assert automatic.backend.precision == "fp32"
    assert identity_of(automatic).key in keys


@pytest.mark.parametrize(
    ("runtime", "options", "said"),
    [
        ("onnxruntime", {"precision": "bf16"}, "--precision bf16: onnxruntime does not compute in it here"),
        ("openvino", {"device": "cuda"}, "--backend openvino computes on the processor, not on cuda"),
        ("onnxruntime", {"device": "mps"}, "--backend onnxruntime computes on the processor, not on mps"),
    ],
)
def test_what_a_runtime_cannot_do_is_refused(
    small: SegmentationModel, runtime: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        choose_backend(small, RunOptions(backend=runtime, **options))


def test_the_precision_is_what_openvino_computes_in(small: SegmentationModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that is taken for one with bf16 and has none computes in fp32, and the record says so."""
    monkeypatch.setattr(choosing, "_has_bf16", lambda _device: True)
    x = torch.randn(1, 3, 64, 64)
    plain, other = (backend_of(small, "openvino", precision=each) for each in ("fp32", "bf16"))
    assert plain.precision.startswith("fp32 in openvino ")
    assert other.precision.startswith(("fp32 in openvino ", "bf16 in openvino "))
    assert (plain.precision == other.precision) == torch.equal(plain.logits(x), other.logits(x))


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Spectrum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(x).real

    model = SegmentationModel(Spectrum(), nearest_level().legend, ("red",), name="spectrum")
    with pytest.raises(ModelError, match=r"'spectrum': torch cannot export its network \(.*\); use --backend torch"):
        network_graph(model)


@pytest.mark.parametrize(
    ("runtime", "hidden", "said"),
    [
        ("onnxruntime", "onnxruntime", "--backend onnxruntime needs ONNX Runtime"),
        ("openvino", "openvino", "--backend openvino needs OpenVINO"),
        ("openvino", "onnx", "ONNX needs the package onnx"),
    ],
)
def test_a_package_that_is_missing_is_named(
    small: SegmentationModel, monkeypatch: pytest.MonkeyPatch, runtime: str, hidden: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, hidden, None)
    monkeypatch.delitem(sys.modules, f"agriseg.backends.{runtime}_backend", raising=False)
    with pytest.raises(UsageError, match=f"{said}.*; pip install 'agriseg\\[export\\]'"):
        choose_backend(small, RunOptions(backend=runtime, precision="fp32"))
