"""M: memory and devices that fail: fewer tiles at a time, smaller ones, the CPU; or one line."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import blocks, layer_bytes, read, record_of, write_raster
from runs import Nursery, Subject

from agriseg import SegmentationModel
from agriseg.backends.torch_backend import TorchBackend
from agriseg.errors import DeviceMemoryError
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import prepare, with_less_memory
from agriseg.mapping.run import run
from agriseg.options.run import RunOptions


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif", blocks(400, 1100))


@pytest.mark.fault("M02")
def test_a_batch_that_is_too_large_is_halved_once_and_for_all(
    tmp_path: Path, image: Path, oracle: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU the plan takes one tile at a time, so it is told to take 64."""
    asked: list[int] = []
    plain = TorchBackend.logits

    def scarce(self: TorchBackend, x: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, x)

    prepared = prepare(image, oracle, RunOptions.of(tile=64, overlap=16))
    run(prepared, Outputs(tmp_path / "one", "a", with_probabilities=False))
    many = replace(prepared, plan=replace(prepared.plan, batch=64))
    monkeypatch.setattr(TorchBackend, "logits", scarce)
    run(many, Outputs(tmp_path / "out", "a", with_probabilities=False))
    assert layer_bytes(tmp_path / "out") == layer_bytes(tmp_path / "one")
    refused = [count for count in asked if count > 2]
    assert len(refused) <= 6
    assert sorted(refused, reverse=True) == refused
    assert all(count <= 2 for count in asked[len(refused) :])
    assert any("tiles at a time instead of 64" in text for text in record_of(tmp_path / "out")["warnings"])


@pytest.mark.fault("M03")
@pytest.mark.parametrize("blend", ["smooth", "exact"])
def test_a_tile_that_is_too_large_becomes_smaller(
    nursery: Nursery, subject: Subject, image: Path, tmp_path: Path, blend: str
) -> None:
    command = ["run", image, "-m", subject.model, "--blend", blend, "-q"]
    ended = nursery.run(*command, "-o", tmp_path / "out", patches=[["out_of_memory", 300]])
    assert ended.code == 0, ended.err
    record = record_of(tmp_path / "out")
    tile = record["parameters"]["tile_px"]
    assert tile <= 300
    assert any(f"in tiles of {tile} px instead of" in text for text in record["warnings"])
    assert nursery.run(*command, "-o", tmp_path / "plain", "--tile", str(tile)).code == 0
    assert layer_bytes(tmp_path / "out") == layer_bytes(tmp_path / "plain")
    if blend == "exact":
        assert nursery.run(*command, "-o", tmp_path / "whole").code == 0
        np.testing.assert_array_equal(*(read(tmp_path / name / "a_classes.tif") for name in ("out", "whole")))


@pytest.mark.fault("M03")
@pytest.mark.parametrize("flags", [["--tile", "128"], []], ids=str)
def test_no_tile_is_small_enough(
    nursery: Nursery, subject: Subject, image: Path, tmp_path: Path, flags: list[str]
) -> None:
    """The user's own tile is not changed; and there is an end to making it smaller."""
    command = ["run", image, "-m", subject.model, "-o", tmp_path / "out", "-q", *flags]
    ended = nursery.run(*command, patches=[["out_of_memory", 1]])
    assert (ended.code, ended.one_line) == (69, True), ended.err
    assert "smaller --tile" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("M03")
def test_the_cpu_takes_over_where_the_user_left_it_open(image: Path, small: SegmentationModel) -> None:
    error = DeviceMemoryError("too small")
    for device, changes in (("auto", True), ("cpu", False)):
        prepared = prepare(image, small, RunOptions.of(tile=128, device=device))
        elsewhere = copy.copy(prepared.backend)
        elsewhere.device = torch.device("cuda")
        prepared = replace(prepared, backend=elsewhere)
        if changes:
            again = with_less_memory(prepared, error)
            assert again.backend.device.type == "cpu"
            assert "on the CPU instead of cuda" in again.warnings[-1]
        else:
            with pytest.raises(DeviceMemoryError):
                with_less_memory(prepared, error)


@pytest.mark.fault("M04")
def test_a_device_that_has_failed(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    ended = nursery.run(*subject.command(tmp_path / "out"), patches=[["sticky"]])
    assert (ended.code, ended.one_line) == (70, True), ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("M05")
def test_host_memory_that_is_refused(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    ended = nursery.run(*subject.command(tmp_path / "out"), patches=[["no_host_memory"]])
    assert (ended.code, ended.one_line) == (70, True), ended.err
    assert "out of memory" in ended.err


@pytest.mark.fault("M05")
@pytest.mark.parametrize("megabytes", [30, 60, 300])
def test_a_limit_on_host_memory(nursery: Nursery, subject: Subject, tmp_path: Path, megabytes: int) -> None:
    """Above what the process has when it begins; the command ends in one line, or gets through."""
    ended = nursery.run(*subject.command(tmp_path / "out"), headroom=megabytes * 2**20)
    if ended.code:
        assert ended.code in (69, 70, 74, 75), ended.err
        assert "Traceback" not in ended.err
        assert subject.whole(tmp_path / "out")
    else:
        assert subject.same(tmp_path / "out")


@pytest.mark.fault("P11")
def test_nan_from_the_network(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    ended = nursery.run(*subject.command(tmp_path / "out"), patches=[["not_a_number", 5]])
    assert (ended.code, ended.one_line) == (70, True), ended.err
    assert "window" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("M01")
def test_auto_is_the_cpu_where_there_is_no_gpu(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ended = nursery.run(*subject.command(tmp_path / "out", "--device", "cuda"))
    assert (ended.code, ended.one_line) == (69, True), ended.err
    assert nursery.run(*subject.command(tmp_path / "out", "--device", "auto")).code == 0
    assert json.loads((tmp_path / "out" / "a_run.json").read_text())["parameters"]["device"] == "cpu"
