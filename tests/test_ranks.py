"""Training in several processes, with real ones that torchrun starts."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_raster
from runs import Nursery
from safetensors import safe_open
from safetensors.torch import load_file

RECIPE = """
classes = ["dark", "bright"]
arch = "fcn_small"
[data]
images = "a.tif"
labels = "labels.tif"
[validation]
block = 64
buffer = 0
[recipe]
steps = {steps}
chip = 64
batch = 4
validate_every = 10
precision = "fp32"
optimiser = "sgd"
lr = 1e-3
"""


@pytest.fixture
def field(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 2, (16, 16)).repeat(16, 0).repeat(16, 1)
    ids[:, :40] = 255  # so that the processes' shares of known pixels differ
    write_raster(tmp_path / "a.tif", (80 + 90 * (ids == 1) + rng.integers(0, 60, (3, 256, 256))).astype(np.uint8))
    write_raster(tmp_path / "labels.tif", ids[None].astype(np.uint8), nodata=255)
    return tmp_path


def alone(nursery: Nursery, folder: Path, steps: int = 20) -> Path:
    """The folder of a training in one process."""
    (folder / "c.toml").write_text(RECIPE.format(steps=steps))
    ended = nursery.run("train", "c.toml", "-o", "one", "--device", "cpu", cwd=folder)
    assert ended.code == 0, ended.err
    return folder / "one"


def together(folder: Path, processes: int, out: str, *more: str, steps: int = 20) -> subprocess.CompletedProcess[str]:
    """The same under torchrun."""
    (folder / "c.toml").write_text(RECIPE.format(steps=steps))
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    command = [sys.executable, "-m", *torchrun, "agriseg", "train", "c.toml", "-o", out, "--device", "cpu", *more]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600, env=env)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = load_file(folder / "state.safetensors")
    return {key: value for key, value in state.items() if key.startswith("network.")}


@pytest.mark.long
def test_two_processes_go_the_way_of_one_with_the_whole_batch(field: Path, nursery: Nursery) -> None:
    """Up to the rounding of sums, which deep networks and Adam multiply: there another number of threads does as much."""
    one, two = alone(nursery, field), together(field, 2, "two")
    assert two.returncode == 0, two.stderr
    expected, found = weights(one), weights(field / "two")
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=0, msg=key)
    # one line per validation, from one process
    assert len((field / "two" / "metrics.jsonl").read_text().splitlines()) == 2
    assert two.stdout.count("best.safetensors") == 1
    with safe_open(field / "two" / "best.safetensors", "pt") as file:
        assert not any("module." in key for key in file.keys())  # noqa: SIM118  (no mapping)


@pytest.mark.long
def test_another_number_of_processes_does_not_go_on(field: Path, nursery: Nursery) -> None:
    other = together(field, 2, alone(nursery, field, steps=10).name, "--resume", steps=10)
    assert other.returncode != 0
    assert "1 processes made this state, now 2; start as many" in other.stderr


@pytest.mark.long
def test_a_batch_that_does_not_come_out_even_is_refused(field: Path) -> None:
    odd = together(field, 3, "out")
    assert odd.returncode != 0
    assert "batch 4 for 3 processes; give a multiple of 3" in odd.stderr
