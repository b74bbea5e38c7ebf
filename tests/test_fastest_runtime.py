"""`--backend auto`: the fastest runtime that keeps the labels, chosen once for a run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import blocks, layer_bytes, record_of, write_raster

from agriseg import SegmentationModel, load_model, segment
from agriseg.backends.backend import Backend
from agriseg.backends.choose_backend import choose_backend
from agriseg.demo.reference_models import nearest_level, random_network
from agriseg.errors import UsageError
from agriseg.grid import Window
from agriseg.inference import fastest_runtime
from agriseg.mapping import prepare as preparing
from agriseg.mapping.prepare import prepare
from agriseg.mapping.record import identity_of
from agriseg.model_export.export import export_model
from agriseg.options.run import RunOptions

pytest.importorskip("onnx", reason="optional: agriseg[export]")
pytest.importorskip("onnxruntime", reason="optional: agriseg[export]")
pytest.importorskip("openvino", reason="optional: agriseg[export]")

RUNTIMES = ("torch", "openvino", "onnxruntime")
AUTO = RunOptions(backend="auto", precision="fp32")
TILE = {"tile": 96, "overlap": 48, "margin": 16}


class Stop(KeyboardInterrupt):
    """As Ctrl-C does."""


def backend_of(model: SegmentationModel, runtime: str) -> Backend:
    return choose_backend(model, RunOptions(backend=runtime, precision="fp32", device="cpu"))


def runtime_of(backend: Backend) -> str:
    return next((each for each in RUNTIMES if each in backend.precision), "torch")


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say how long a tile takes in each runtime, and measure rasters of any size."""

    def set_up(**seconds: float) -> None:
        monkeypatch.setattr(fastest_runtime, "_seconds", lambda backend, _pixels: seconds[runtime_of(backend)])
        monkeypatch.setattr(fastest_runtime, "_WORTH", 0.0)
        monkeypatch.setattr(fastest_runtime, "_BUDGET", 1e6)

    return set_up


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif", blocks(330, 290, low=1), nodata=0)


@pytest.mark.parametrize("seed", range(12))
def test_the_fastest_with_the_labels_is_chosen(fast: Callable[..., None], seed: int) -> None:
    """Of random speeds, and networks that may have other labels."""
    rng = np.random.default_rng(seed)
    model, other = random_network("fcn_small"), random_network("fcn_small", seed=1)
    seconds = dict(zip(RUNTIMES, rng.uniform(0.05, 0.2, 3).round(3), strict=True))
    right = {"torch": True, "openvino": bool(rng.integers(2)), "onnxruntime": bool(rng.integers(2))}
    fast(**seconds)
    backends = {name: backend_of(model if right[name] else other, name) for name in RUNTIMES}
    tiles = [(torch.randn(1, 3, 32, 48), torch.from_numpy(rng.random((32, 48)) < 0.7)) for _ in range(3)]
    choice = fastest_runtime._measured(model, backends, backends["torch"], tiles)
    able = sorted(
        (seconds[name], name) for name in RUNTIMES[1:] if right[name] and seconds[name] * 1.1 <= seconds["torch"]
    )
    assert choice.runtime == (able[0][1] if able else "torch")
    for each in choice.speeds:
        assert each.megapixels_per_second == pytest.approx(32 * 48 / 1e6 / seconds[each.runtime])
        assert (each.equal >= 0.998) == right[each.runtime]
    assert choice.speeds[0].equal == 1
    assert choice.text.startswith(f"runtime {choice.runtime}: ")


def test_labels_are_compared_where_there_is_data() -> None:
    model, other = nearest_level(), random_network("pixel_mlp")
    backends = {"torch": backend_of(model, "torch"), "onnxruntime": backend_of(other, "onnxruntime")}
    pixels = torch.rand(1, 3, 16, 16) * 255
    equal = (backends["torch"].logits(pixels).argmax(1) == backends["onnxruntime"].logits(pixels).argmax(1))[0]
    assert 0 < equal.sum() < equal.numel()
    for valid, share in ((equal, 1.0), (~equal, 0.0), (torch.ones_like(equal), equal.float().mean().item())):
        choice = fastest_runtime._measured(model, backends, backends["torch"], [(pixels, valid)])
        assert choice.speeds[1].equal == pytest.approx(share)


def test_tiles_lie_in_the_window_and_hold_what_a_run_reads(tmp_path: Path) -> None:
    pixels = np.arange(300 * 400, dtype=np.float64).reshape(1, 300, 400).repeat(3, 0)
    pixels[:, :, 250:] = -1
    image = write_raster(tmp_path / "a.tif", pixels, nodata=-1)
    job = prepare(image, nearest_level(), RunOptions(bands=(1, 2, 3), window=Window(100, 50, 280, 200)))
    tiles = list(fastest_runtime._tiles(job.model_input.source, job.model, job.plan.roi, 32))
    assert len(tiles) == 3
    places = set()
    for x, valid in tiles:
        assert valid.any()
        numbers = x[0, 0][valid].long().numpy()
        rows, cols = numbers // 400, numbers % 400
        assert 50 <= rows.min() <= rows.max() < 250
        assert 100 <= cols.min() <= cols.max() < 250
        assert not x[:, :, ~valid].any()
        places.add((rows.min(), cols.min()))
    assert len(places) == 3


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_run_is_that_of_the_runtime_that_was_chosen(
    tmp_path: Path, image: Path, small: SegmentationModel, fast: Callable[..., None], runtime: str
) -> None:
    fast(**{name: 0.1 if name == runtime else 1.0 for name in RUNTIMES})
    job = prepare(image, small, AUTO)
    assert job.options.backend == runtime
    assert job.runtime is not None
    named = prepare(image, small, replace(AUTO, backend=runtime))
    assert identity_of(job).key == identity_of(named).key
    for out, backend in (("auto", "auto"), ("named", runtime)):
        segment(image, small, tmp_path / out, backend=backend, precision="fp32", **TILE)
    assert layer_bytes(tmp_path / "auto") == layer_bytes(tmp_path / "named")
    stored = record_of(tmp_path / "auto")
    assert stored["runtime"]["runtime"] == stored["options"]["backend"] == runtime
    assert [each["runtime"] for each in stored["runtime"]["speeds"]] == list(RUNTIMES)
    assert record_of(tmp_path / "named")["runtime"] is None


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on a measurement fails the test."""

    def refuse(*_: Any) -> None:
        pytest.fail("measured again")

    return lambda: monkeypatch.setattr(preparing, "choose_fastest", refuse)


@pytest.mark.parametrize("stop", [1, 6, 15])
def test_a_stopped_run_keeps_its_runtime(
    tmp_path: Path, image: Path, small: SegmentationModel, fast: Callable[..., None], never: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch, stop: int,
) -> None:  # fmt: skip
    fast(torch=1.0, openvino=0.9, onnxruntime=0.1)
    flags = {"backend": "auto", "precision": "fp32", **TILE}
    segment(image, small, tmp_path / "straight", **flags)
    kind = type(backend_of(small, "onnxruntime"))
    plain, ran = kind.logits, []

    def counted(self: Any, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] == TILE["tile"]:
            ran.append(len(x))
        if len(ran) == stop:
            raise Stop
        return plain(self, x)

    with monkeypatch.context() as during:
        during.setattr(kind, "logits", counted)
        with pytest.raises(Stop):
            segment(image, small, tmp_path / "again", **flags)
    fast(torch=0.1, openvino=0.2, onnxruntime=1.0)
    never()
    segment(image, small, tmp_path / "again", **flags)
    assert layer_bytes(tmp_path / "again") == layer_bytes(tmp_path / "straight")
    again, straight = (record_of(tmp_path / each) for each in ("again", "straight"))
    assert again["runtime"] == straight["runtime"]
    assert again["parameters"]["precision"] == straight["parameters"]["precision"]


def test_a_map_that_is_made_again_keeps_its_runtime_and_another_model_does_not(
    tmp_path: Path, image: Path, small: SegmentationModel, fast: Callable[..., None], never: Callable[[], None]
) -> None:
    fast(torch=1.0, openvino=0.1, onnxruntime=0.2)
    flags = {"backend": "auto", "precision": "fp32", "overwrite": True, **TILE}
    segment(image, small, tmp_path / "out", **flags)
    first = layer_bytes(tmp_path / "out")
    fast(torch=0.1, openvino=1.0, onnxruntime=0.2)
    segment(image, random_network("fcn_small", seed=1), tmp_path / "out", **flags)
    assert record_of(tmp_path / "out")["options"]["backend"] == "torch"
    segment(image, small, tmp_path / "out", **{**flags, "backend": "openvino"})
    assert layer_bytes(tmp_path / "out") == first
    segment(image, small, tmp_path / "out", **flags)
    never()
    segment(image, small, tmp_path / "out", **flags)
    assert record_of(tmp_path / "out")["options"]["backend"] == "torch"


def test_a_runtime_that_is_gone_is_not_kept(
    tmp_path: Path, image: Path, small: SegmentationModel, fast: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast(torch=1.0, openvino=0.1, onnxruntime=0.2)
    flags = {"backend": "auto", "precision": "fp32", "overwrite": True, **TILE}
    segment(image, small, tmp_path / "out", **flags)
    monkeypatch.setattr(fastest_runtime, "find_spec", lambda name: None if name == "openvino" else name)
    monkeypatch.setattr("agriseg.mapping.known_runtime.is_installed", lambda name: name != "openvino")
    segment(image, small, tmp_path / "out", **flags)
    assert record_of(tmp_path / "out")["options"]["backend"] == "onnxruntime"


def test_a_worker_uses_what_was_chosen(tmp_path: Path, model_file: Path, agriseg_cli: Callable[..., Any]) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(330, 290, low=1), nodata=0)
    folder = tmp_path / "two" / ".a.agriseg"
    folder.mkdir(parents=True)
    choice = {"runtime": "onnxruntime", "model": load_model(model_file).fingerprint, "reason": "of an earlier run"}
    (folder / "runtime").write_text(json.dumps(choice))
    flags = ("-m", model_file, "--tile", 96, "--overlap", 48, "--cpu-threads", 1)
    for out, more in (("one", ("--backend", "onnxruntime")), ("two", ("--backend", "auto", "--workers", 1))):
        ended = agriseg_cli("run", image, "-o", tmp_path / out, *flags, *more)
        assert ended.code == 0, ended.err
    assert "agriseg: a.tif: runtime onnxruntime: of an earlier run" in ended.err
    assert layer_bytes(tmp_path / "two") == layer_bytes(tmp_path / "one")
    assert record_of(tmp_path / "two")["runtime"]["reason"] == "of an earlier run"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"runtime": "torch", "model": 3, "reason": ""}'])
def test_a_damaged_choice_is_made_again(
    tmp_path: Path, image: Path, small: SegmentationModel, fast: Callable[..., None], content: bytes
) -> None:
    fast(torch=1.0, openvino=0.1, onnxruntime=0.2)
    (tmp_path / "out" / ".a.agriseg").mkdir(parents=True)
    (tmp_path / "out" / ".a.agriseg" / "runtime").write_bytes(content)
    segment(image, small, tmp_path / "out", backend="auto", precision="fp32", **TILE)
    assert record_of(tmp_path / "out")["options"]["backend"] == "openvino"


def test_nothing_is_measured_where_nothing_can_be_gained(
    image: Path, small: SegmentationModel, fast: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepare(image, small, AUTO)
    assert job.options.backend == "torch"
    assert job.choices == ("runtime torch: the raster is too small to gain anything by a measurement",)
    fast(torch=1.0, openvino=0.1, onnxruntime=0.2)
    monkeypatch.setattr(fastest_runtime, "find_spec", lambda _name: None)
    assert prepare(image, small, AUTO).choices == ("runtime torch: no other is installed",)


def test_a_raster_without_data_and_a_runtime_that_cannot(
    tmp_path: Path, image: Path, small: SegmentationModel, fast: Callable[..., None]
) -> None:
    fast(torch=1.0, openvino=0.2, onnxruntime=0.1)
    empty = write_raster(tmp_path / "empty.tif", np.zeros((3, 200, 200), np.uint8), nodata=0)
    assert prepare(empty, small, AUTO).choices == ("runtime torch: no tile with data was found to measure on",)
    job = prepare(image, small, replace(AUTO, precision="bf16"))
    assert job.runtime is not None
    assert "onnxruntime" not in [each.runtime for each in job.runtime.speeds]
    assert "; not onnxruntime: --precision bf16: onnxruntime does not compute in it here" in job.runtime.text


@pytest.mark.parametrize("fastest", ["openvino", "onnxruntime"])
def test_an_onnx_file_is_measured_without_torch(
    tmp_path: Path, image: Path, fast: Callable[..., None], fastest: str
) -> None:
    export_model(random_network("fcn_small"), "onnx", tmp_path / "m.onnx", 64)
    fast(torch=0.01, **{name: 0.1 if name == fastest else 1.0 for name in RUNTIMES[1:]})
    job = prepare(image, load_model(tmp_path / "m.onnx"), AUTO)
    assert job.options.backend == fastest
    assert job.runtime is not None
    assert {each.runtime for each in job.runtime.speeds} == set(RUNTIMES[1:])


def test_without_the_option_it_is_torch(image: Path, small: SegmentationModel, fast: Callable[..., None]) -> None:
    fast(torch=1.0, openvino=0.1, onnxruntime=0.2)
    job = prepare(image, small, RunOptions())
    assert (job.options.backend, job.runtime, job.choices) == ("torch", None, ())
    with pytest.raises(UsageError, match="backend 'tensorrt', expected auto, torch, openvino, onnxruntime"):
        RunOptions(backend="tensorrt")
