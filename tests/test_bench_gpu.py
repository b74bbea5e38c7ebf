"""The benchmark for GPUs on a machine without one: it says so and ends, and it counts waits in a profile."""

import sys

import pytest
import torch

from benchmarks import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    gpu.main()
    assert capsys.readouterr().out.startswith("no GPU: torch ")


def test_waits_are_counted_and_nothing_else() -> None:
    names = ["cudaStreamSynchronize", "aten::conv2d", "cudaLaunchKernel", "cudaDeviceSynchronize", "cudaMemcpyAsync"]
    assert gpu.waits(names) == 2


def test_a_run_is_profiled_on_the_device_it_is_on() -> None:
    tiles = iter([4, 4])
    assert (
        gpu.profiled(lambda: next(tiles) if torch.ones(3).sum() else 0)
        == "waits for the device: 0 for 4 tiles, 0.00 per tile"
    )
    assert next(tiles, None) is None


def test_packages_that_a_run_needs_are_there() -> None:
    assert gpu.missing() == []
