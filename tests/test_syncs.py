"""The host waits for the device a fixed number of times per band, whatever the number of tiles.

A stand-in for a device: on the CPU, everything that would wait for a GPU is counted as it is called.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import blocks, write_raster
from torch.overrides import TorchFunctionMode

from agriseg import SegmentationModel
from agriseg.demo.reference_models import random_network
from agriseg.errors import PredictionError
from agriseg.grid import Window
from agriseg.inference.predict import ClassifiedRows, Observers, TilePredictor
from agriseg.mapping.checkpoint import RunCheckpoint
from agriseg.mapping.prepare import MappingJob, prepare
from agriseg.options.run import RunOptions
from agriseg.raster.reader import Reader
from agriseg.storage.base import FolderStorage

WAITS = (
    "item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__contains__",
    "nonzero", "argwhere", "masked_select", "unique", "equal", "allclose", "is_nonzero", "__array__",
)  # fmt: skip
COPIES = ("to", "copy_", "tensor", "as_tensor")


class Waits(TorchFunctionMode):
    """Counts calls of torch that wait for a device, by name; copies only where they are not told not to wait."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        masks = [each for each in args[1:2] if name in ("__getitem__", "__setitem__")]
        by_mask = any(getattr(part, "dtype", None) == torch.bool for each in masks for part in np_tuple(each))
        moves = name in ("copy_", "tensor", "as_tensor") or any(
            isinstance(each, torch.device | str) for each in (*args[1:], kwargs.get("device"))
        )
        if args and getattr(args[0], "is_on_host", False) and name in ("cpu", "contiguous", "numpy"):
            return on_host(func(*args, **kwargs)) if name != "numpy" else func(*args, **kwargs)
        if name == "to" and moves and kwargs.get("non_blocking"):
            return on_host(func(*args, **kwargs).clone())
        if name in WAITS or by_mask or (name in COPIES and moves and not kwargs.get("non_blocking")):
            self.calls[name] += 1
        return func(*args, **kwargs)


def on_host(values: torch.Tensor) -> torch.Tensor:
    """Marks what was copied without a wait: to read it costs nothing, once its copy is through."""
    values.is_on_host = True  # type: ignore[attr-defined]
    return values


def np_tuple(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(), lambda x: bool(x.any()), lambda x: float(x[0]), lambda x: int(x[0]),
        lambda x: x.tolist(), lambda x: x.numpy(), lambda x: x.cpu(), lambda x: x.to("cpu"), lambda x: x.nonzero(),
        lambda x: x.to(torch.device("cpu")), lambda x: x[x > 0], lambda x: torch.equal(x, x), lambda x: x.copy_(x + 1),
        lambda x: torch.tensor([1.0], device=x.device), lambda x: x.masked_select(x > 0), lambda x: 1.0 in x,
        lambda x: x.__setitem__(x > 0, 1), lambda x: np.asarray(x), lambda x: x.to(device="cpu"),
    ],
)  # fmt: skip
def test_a_wait_is_counted(wait: Callable[[torch.Tensor], Any]) -> None:
    with Waits() as waits:
        wait(torch.rand(5))
    assert waits.calls.total() >= 1


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.to(torch.float64), lambda x: x.to("cpu", non_blocking=True), lambda x: x[1:3], lambda x: x + 1,
        lambda x: x.copy_(x + 1, non_blocking=True), lambda x: torch.isfinite(x).all(),
        lambda x: x.masked_fill_(x > 0, 1), lambda x: torch.zeros(3, device=x.device), lambda x: x.sub_(2.0).div_(3.0),
    ],
)  # fmt: skip
def test_work_is_not_counted(work: Callable[[torch.Tensor], Any]) -> None:
    x = torch.rand(5)
    with Waits() as waits:
        work(x)
    assert waits.calls.total() == 0


@contextmanager
def predictor(job: MappingJob, folder: Path, *, per_band: bool, **hooks: Any) -> Iterator[TilePredictor]:
    """A predictor with a cache, which works as on a GPU if `per_band`."""
    folder.mkdir()
    cache = RunCheckpoint.create(job, FolderStorage(folder)).logits_cache("alone")
    made = TilePredictor(job.plan, job.model, job.backend, Observers(**hooks), cache)
    assert not made.waits_per_band, "a CPU waits after each batch"
    made.waits_per_band = per_band
    yield made


def rows_of(job: MappingJob, made: TilePredictor) -> Iterator[tuple[ClassifiedRows, Counter[str]]]:
    """The rows of each band, and what was waited for."""
    carry = None
    with Reader(job.model_input.source) as reader:
        for band in job.plan.bands():
            strip = reader.read(job.plan.read_window(band))
            with Waits() as waits:
                rows = made.run(band, strip, carry)
            carry = rows.carry
            yield rows, waits.calls


def a_job(folder: Path, width: int, model: SegmentationModel, **flags: Any) -> MappingJob:
    pixels = blocks(400, width, low=1)
    pixels[:, 100:160, 70:200] = 0
    image = write_raster(folder / f"{width}.tif", pixels, nodata=0)
    return prepare(image, model, RunOptions.of(tile=64, overlap=32, margin=8, device="cpu", precision="fp32", **flags))


@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("name", ["fcn_small", "unet_small/2"])
def test_waits_of_a_band_do_not_depend_on_its_tiles(tmp_path: Path, name: str, probabilities: bool) -> None:
    model, found = random_network(name), set()
    for width in (200, 900):
        job = a_job(tmp_path, width, model, probabilities=probabilities)
        with predictor(job, tmp_path / f"cache{width}", per_band=True) as made:
            bands = list(rows_of(job, made))
        assert len(bands) > 3
        found |= {frozenset(calls.items()) for _, calls in bands}
    assert len(found) == 1, found
    (calls,) = found
    layers = 3 if probabilities else 2
    assert dict(calls) == {"tolist": 1, "cpu": layers, "numpy": layers}


@pytest.mark.parametrize("name", ["fcn_small", "unet_small"])
def test_rows_and_kept_logits_are_those_of_a_cpu(tmp_path: Path, name: str) -> None:
    job, made = a_job(tmp_path, 300, random_network(name)), {}
    for per_band in (False, True):
        folder = tmp_path / f"cache{per_band}"
        with predictor(job, folder, per_band=per_band) as each:
            layers = [rows.layers for rows, _ in rows_of(job, each)]
        kept = {path.relative_to(folder): path.read_bytes() for path in folder.glob("answers/*/*")}
        made[per_band] = layers, kept
    for one, other in zip(made[False][0], made[True][0], strict=True):
        for layer, rows in one.items():
            np.testing.assert_array_equal(rows, other[layer])
    assert made[False][1] == made[True][1]
    assert len(made[True][1]) > 9


@pytest.mark.parametrize("per_band", [False, True])
def test_the_tile_with_nan_is_named(tmp_path: Path, per_band: bool) -> None:
    """Also when its logits are looked at with those of all others of the band; what came before it is kept."""
    job = a_job(tmp_path, 300, random_network("fcn_small"))
    plain, ran = job.backend.logits, []

    class Broken:
        device, device_name, precision = job.backend.device, "cpu", "fp32"
        memory_per_pixel = job.backend.memory_per_pixel

        def logits(self, batch: torch.Tensor) -> torch.Tensor:
            ran.append(1)
            logits = plain(batch)
            return torch.full_like(logits, torch.nan) if len(ran) == 3 else logits

    job = replace(job, backend=Broken())
    tile = job.plan.grid[0, 2].window
    assert isinstance(tile, Window)
    with predictor(job, tmp_path / "cache", per_band=per_band) as made, pytest.raises(PredictionError) as raised:
        list(rows_of(job, made))
    assert str(tile) in str(raised.value)
    assert sorted(path.name for path in (tmp_path / "cache").glob("answers/0/*")) == ["0", "1"]
