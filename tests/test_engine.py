"""The engine's promises: right for any shape, equal to untiled, the same bytes however it is run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
from conftest import blocks, layer_bytes, nearest, noise, read, write_raster

from agriseg import Legend, SegmentationModel, segment
from agriseg.demo.reference_models import random_network
from agriseg.demo.selftest import whole_forward
from agriseg.errors import DeviceError, GridError, ModelError, PredictionError, UsageError
from agriseg.inference.pipeline import run_bands
from agriseg.inference.plan import AHEAD, TileRowGroup
from agriseg.inference.predict import TilePredictor
from agriseg.mapping.prepare import MappingJob, prepare
from agriseg.maps.record import PixelTotals
from agriseg.options.run import RunOptions
from agriseg.raster.reader import Reader

TILE = 64


@pytest.mark.fault("P04")
@pytest.mark.parametrize(("height", "width"), [(1000, 777), (100, 90), (120, 1000), (300, 200), (256, 256)])
@pytest.mark.parametrize("flags", [{"blend": "exact"}, {"blend": "smooth"}, {"overlap": 64}, {"overlap": 128}], ids=str)
def test_oracle_over_the_shapes_that_break_peers(
    tmp_path: Path, oracle: SegmentationModel, height: int, width: int, flags: dict[str, Any]
) -> None:
    pixels = noise(height, width)
    pixels[0, : height // 2] = 0  # one band 0: data
    image = write_raster(tmp_path / "a.tif", pixels)
    report = segment(image, oracle, tmp_path / "out", tile=256, **flags)
    np.testing.assert_array_equal(read(report.classes)[0], nearest(pixels))
    assert report.pixels == PixelTotals(total=height * width, predicted=height * width, nodata=0, failed=0)


@pytest.mark.fault("P05")
def test_a_raster_without_data_runs_no_tile(tmp_path: Path, oracle: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", np.zeros((3, 200, 200), np.uint8), nodata=0)
    report = segment(image, oracle, tmp_path / "out", tile=TILE)
    assert report.tiles == 0
    assert (read(report.classes) == 255).all()


SKIPPING = [
    ("fcn_small", {"overlap": 32, "margin": 16}),
    ("fcn_small", {"overlap": 0}),
    ("fcn_small", {"overlap": 64, "margin": 0}),
    ("fcn8s_resnet18", {"overlap": 64, "margin": 0}),
    ("fcn8s_resnet18", {"overlap": 0}),
    ("fcn8s_resnet18", {"overlap": 32, "margin": 8}),
]


@pytest.mark.parametrize(("name", "flags"), SKIPPING, ids=str)
def test_skipping_empty_tiles_changes_no_valid_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, flags: dict[str, Any]
) -> None:
    pixels = blocks(350, 320, low=1)
    pixels[:, :140] = pixels[:, :, 192:] = 0  # edges on and off the tiles' edges
    pixels[:, 296:, 100:] = 0
    image = write_raster(tmp_path / "a.tif", pixels, nodata=0)
    model = random_network(name)
    skipping = segment(image, model, tmp_path / "skip", tile=128, precision="fp32", **flags)
    monkeypatch.setattr(TilePredictor, "_any_valid", lambda *_: True)
    running = segment(image, model, tmp_path / "run", tile=128, precision="fp32", **flags)
    assert skipping.tiles < running.tiles
    assert layer_bytes(tmp_path / "skip") == layer_bytes(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "height", "width", "tile", "part"),
    [
        ("fcn_small", 413, 349, 160, 2),
        ("unet_small", 205, 549, 480, 8),  # with random weights little comes up from its coarsest stage
        ("fcn8s_resnet18", 109, 1213, 1120, 2),
        pytest.param(*("fcn8s_resnet34", 397, 2209, 2048, 8), marks=pytest.mark.long),
        pytest.param(*("fcn8s_resnet50", 397, 1549, 1344, 2), marks=pytest.mark.long),
        pytest.param("fcn_resnet50", 461, 917, 904, 2, marks=pytest.mark.long),
        pytest.param(*("fcn_resnet101", 205, 2021, 1984, 2), marks=pytest.mark.long),
        pytest.param(*("segnet", 397, 917, 896, 8), marks=pytest.mark.long),
        ("fcn_small/3", 613, 549, 480, 2),
        ("unet_resnet18", 109, 1549, 1344, 8),
        pytest.param(*("unet_resnet50", 205, 1549, 1344, 8), marks=pytest.mark.long),
        ("unet_lite0", 109, 2417, 2112, 40),  # with random weights little comes up from its coarsest stage
    ],
)
def test_exact_equals_one_untiled_forward_and_part_of_the_margin_does_not(
    tmp_path: Path, name: str, height: int, width: int, tile: int, part: int
) -> None:
    pixels = blocks(height, width)
    image = write_raster(tmp_path / "a.tif", pixels)
    model = random_network(name)
    untiled = whole_forward(model, pixels)
    assert len(np.unique(untiled)) == 4  # a map of one class would hide errors
    report = segment(image, model, tmp_path / "exact", blend="exact", tile=tile, precision="fp32")
    assert report.tiles > 1
    assert np.mean(read(report.classes)[0] != untiled) <= 1e-5
    margin = model.halo // part // model.stride * model.stride
    overlap = -(-2 * margin // model.step) * model.step
    flags = {"overlap": overlap, "margin": margin, "tile": 2 * overlap, "precision": "fp32"}
    less = segment(image, model, tmp_path / "less", **flags)
    assert np.mean(read(less.classes)[0] != untiled) > 1e-5


def test_exact_with_too_small_a_margin_is_said(tmp_path: Path, small: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(300, 300))
    report = segment(image, small, tmp_path / "out", blend="exact", overlap=32, margin=16, tile=128)
    assert any("not exact" in text for text in report.warnings)


def test_exact_is_refused_for_a_network_that_sees_everything(tmp_path: Path, oracle: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", noise(100, 100))
    model = SegmentationModel(oracle.network, legend=oracle.legend, bands=oracle.bands, halo=None)
    with pytest.raises(GridError, match="sees the whole image"):
        segment(image, model, tmp_path / "out", blend="exact")


RUNS: list[dict[str, Any]] = [
    {"batch": 1, "threads": 1},
    {"batch": 3, "threads": 2, "band_rows": 2},
    {"batch": 8, "threads": 4, "band_rows": 5},
    {"batch": 3, "threads": 4, "band_rows": 2},
    {"batch": 8, "threads": 1},
]
"""Each differs from the first, in one, two or three ways."""


@pytest.mark.fault("M06")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("name", "height", "width", "flags"),
    [
        ("fcn_small", 203, 171, {"tile": 64, "overlap": 32, "margin": 8}),
        ("fcn8s_resnet18", 267, 203, {"tile": 96, "overlap": 32, "margin": 0}),
        ("fcn_small", 171, 107, {"tile": 64, "overlap": 32, "margin": 8, "tta": "d4"}),  # eight forwards a tile
    ],
)
def test_same_bytes_for_any_batch_threads_and_bands(
    tmp_path: Path, name: str, height: int, width: int, flags: dict[str, Any], precision: str
) -> None:
    pixels = blocks(height, width, low=1)
    pixels[:, height // 4 : height // 2, width // 4 : width // 2] = 0
    image = write_raster(tmp_path / "a.tif", pixels, nodata=0)
    model = random_network(name)
    written = []
    for run in RUNS:
        segment(image, model, tmp_path / "out", overwrite=True, probabilities=True, precision=precision, **flags, **run)
        written.append(layer_bytes(tmp_path / "out"))
    assert len(written[0]) == 10  # three layers, their legends, three quick looks
    assert all(each == written[0] for each in written)


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_batches_pass_over_empty_tiles(tmp_path: Path, oracle: SegmentationModel, batch: int) -> None:
    """Tiles are grouped as on a GPU; the network gets full batches of those with data."""
    pixels = noise(64, 1000, low=1)
    pixels[:, :, 192:320] = pixels[:, :, 700:] = 0
    image = write_raster(tmp_path / "a.tif", pixels, nodata=0)
    prepared = prepare(image, oracle, RunOptions(tile=64, overlap=0))
    plan = replace(prepared.plan, batch=batch)
    sizes = []

    class Counting:
        device = prepared.backend.device

        def logits(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            return prepared.backend.logits(x)

    (band,) = plan.bands()
    with Reader(prepared.model_input.source) as reader:
        decided = TilePredictor(plan, oracle, Counting()).run(band, reader.read(plan.read_window(band)), None)
    np.testing.assert_array_equal(decided.layers["classes"][0], nearest(pixels, nodata=0))
    assert sum(sizes) == decided.tiles == 9
    assert all(size == batch for size in sizes[:-1])


def test_dask_settings_of_the_user_count(tmp_path: Path, oracle: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", noise(300, 300))
    with dask.config.set(num_workers=2):
        report = segment(image, oracle, tmp_path / "out", tile=TILE)
    np.testing.assert_array_equal(read(report.classes)[0], nearest(noise(300, 300)))


def prepared_small(tmp_path: Path, model: SegmentationModel, **flags: Any) -> MappingJob:
    image = write_raster(tmp_path / "a.tif", blocks(400, 300))
    return prepare(image, model, RunOptions.of(**{"tile": 64, "overlap": 32, "margin": 4, **flags}))


@pytest.mark.parametrize("flags", [{}, {"margin": 0}, {"overlap": 0, "margin": 0}], ids=str)
def test_a_band_on_its_own_gives_what_the_chain_gives(
    tmp_path: Path, small: SegmentationModel, flags: dict[str, Any]
) -> None:
    """The seam for worker processes: no carry, the rows before it run again."""
    prepared = prepared_small(tmp_path, small, band_rows=2, **flags)
    plan = prepared.plan
    predictor = TilePredictor(plan, small, prepared.backend)
    carry, recomputed = None, []
    with Reader(prepared.model_input.source) as reader:
        for band in plan.bands():
            chained = predictor.run(band, reader.read(plan.read_window(band)), carry)
            carry = chained.carry
            alone = TileRowGroup(plan.grid.rows.tiles(*band.rows), band.rows)
            lone = predictor.run(alone, reader.read(plan.read_window(alone)), None)
            recomputed.append(len(alone.tiles) - len(band.tiles))
            for name, rows in chained.layers.items():
                np.testing.assert_array_equal(lone.layers[name], rows)
    assert max(recomputed) <= (1 if not flags else 2)


def test_few_bands_are_in_flight(tmp_path: Path, small: SegmentationModel) -> None:
    """However slow the network, reading is at most AHEAD bands before it, and writing as far behind."""
    prepared = prepared_small(tmp_path, small)
    predictor = TilePredictor(prepared.plan, small, prepared.backend)
    read_bands, ran, seen = [], [], []
    with Reader(prepared.model_input.source) as reader:

        def read_band(band: TileRowGroup) -> Any:
            read_bands.append(band)
            seen.append(len(read_bands) - len(ran))
            return reader.read(prepared.plan.read_window(band))

        def infer(*given: Any) -> Any:
            result = predictor.run(*given)
            ran.append(given[0])
            return result

        written = list(
            run_bands(prepared.plan.bands(), read_band, infer, lambda decided: decided.band.rows[0], threads=8)
        )
    assert ran == prepared.plan.bands()
    assert written == [band.rows[0] for band in prepared.plan.bands()]
    assert max(seen) <= AHEAD


@pytest.mark.parametrize("broken", ["read", "infer", "write"])
def test_an_error_in_any_task_ends_the_run_as_itself(tmp_path: Path, small: SegmentationModel, broken: str) -> None:
    prepared = prepared_small(tmp_path, small)
    predictor = TilePredictor(prepared.plan, small, prepared.backend)

    def fails_at(name: str, task: Any) -> Any:
        calls = []

        def maybe(*given: Any) -> Any:
            calls.append(given)
            if name == broken and len(calls) == 3:
                raise PredictionError(f"{name} broke")
            return task(*given)

        return maybe

    with Reader(prepared.model_input.source) as reader:
        tasks = {
            "read": lambda band: reader.read(prepared.plan.read_window(band)),
            "infer": predictor.run,
            "write": lambda decided: decided.band.rows[0],
        }
        with pytest.raises(PredictionError, match=f"{broken} broke"):
            list(run_bands(prepared.plan.bands(), *(fails_at(name, task) for name, task in tasks.items())))


@pytest.mark.fault("S06")
def test_the_carry_knows_no_height(tmp_path: Path, small: SegmentationModel) -> None:
    prepared = prepared_small(tmp_path, small)
    plan, carry, sizes = prepared.plan, None, []
    predictor = TilePredictor(plan, small, prepared.backend)
    with Reader(prepared.model_input.source) as reader:
        for band in plan.bands():
            carry = predictor.run(band, reader.read(plan.read_window(band)), carry).carry
            sizes.append(carry.sums.shape[1] if carry else 0)
    assert max(sizes) <= plan.grid.rows.overlap // plan.grid.stride + 1


@pytest.mark.fault("S06")
def test_memory_is_planned_without_the_height(tmp_path: Path, oracle: SegmentationModel) -> None:
    def planned(height: int) -> int:
        image = write_raster(tmp_path / "a.tif", np.zeros((3, height, 300), np.uint8))
        return prepare(image, oracle, RunOptions(tile=64)).plan.memory.total

    assert planned(3000) == planned(300)


def test_max_memory_lowers_batch_and_tile_or_refuses(tmp_path: Path, small: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", noise(1500, 1500))
    free = prepare(image, small, RunOptions())
    bound = free.plan.memory.total - 10_000_000
    tight = prepare(image, small, RunOptions(max_memory=bound))
    assert tight.plan.grid.rows.tile < free.plan.grid.rows.tile
    assert tight.plan.memory.total <= bound
    with pytest.raises(UsageError, match=r"--max-memory .* need"):
        prepare(image, small, RunOptions(max_memory=bound, tile=512))
    with pytest.raises(UsageError, match="--max-memory"):
        prepare(image, small, RunOptions(max_memory=1_000_000))


class Answer(torch.nn.Module):
    """Answers whatever it is told."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> Any:
        return self.answer(x)


def answering(answer: Any, **arguments: Any) -> SegmentationModel:
    legend = Legend.from_names(["a", "b"])
    return SegmentationModel(Answer(answer), legend=legend, bands=("red", "green", "blue"), **arguments)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda x: {"out": x[:, :2]}, "gives dict, expected logits"),
        (lambda x: x, r"gives \(1, 3, 64, 64\), expected logits \(1, 2, 64, 64\)"),
        (lambda x: x[:, :2, ::2, ::2], r"expected logits \(1, 2, 64, 64\)"),
    ],
)
def test_a_network_that_answers_something_else_is_refused(tmp_path: Path, answer: Any, says: str) -> None:
    image = write_raster(tmp_path / "a.tif", noise(80, 80))
    with pytest.raises(ModelError, match=says):
        segment(image, answering(answer), tmp_path / "out")


@pytest.mark.fault("P11")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_from_the_network_names_the_tile_and_leaves_nothing(tmp_path: Path, bad: float) -> None:
    pixels = noise(200, 200, low=1)
    pixels[:, 100, 150] = 0
    image = write_raster(tmp_path / "a.tif", pixels)
    model = answering(lambda x: torch.where(x[:, :2] == 0, bad, x[:, :2]) if x.any() else x[:, :2])
    with pytest.raises(PredictionError, match="NaN or infinity in window 128,64,64,64"):
        segment(image, model, tmp_path / "out", tile=64, overlap=0)
    assert not (tmp_path / "out").exists()


def test_what_enters_where_nothing_is_valid_is_the_mean(tmp_path: Path) -> None:
    pixels = noise(50, 70, low=1).astype(np.float32)
    pixels[:, 10:20] = np.nan
    image = write_raster(tmp_path / "a.tif", pixels, photometric="RGB")
    seen = []
    model = answering(lambda x: seen.append(x.clone()) or x[:, :2], mean=(9.0, 8.0, 7.0), std=(2.0, 3.0, 4.0))
    segment(image, model, tmp_path / "out")
    x = seen[-1][0].numpy()
    expected = (pixels - np.reshape([9, 8, 7], (3, 1, 1))) / np.reshape([2, 3, 4], (3, 1, 1))
    np.testing.assert_allclose(x[:, :10], expected[:, :10], rtol=1e-6)
    assert (x[:, 10:20] == 0).all()


def test_evaluation_mode_is_set(tmp_path: Path) -> None:
    model = random_network("fcn_small")
    model.network.train()
    image = write_raster(tmp_path / "a.tif", blocks(90, 90))
    first = read(segment(image, model, tmp_path / "out").classes)
    again = read(segment(image, random_network("fcn_small"), tmp_path / "again").classes)
    np.testing.assert_array_equal(first, again)


@pytest.mark.fault("M01")
def test_absent_devices_are_said(tmp_path: Path, oracle: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", noise(80, 80))
    for name in (["cuda"] if not torch.cuda.is_available() else []) + ["cuda:99", "toaster"]:
        with pytest.raises(DeviceError, match=f"device '{name}' is not available"):
            segment(image, oracle, tmp_path / "out", device=name)


def test_confidence_is_the_softmax_of_the_blended_logits(tmp_path: Path, small: SegmentationModel) -> None:
    pixels = blocks(80, 90)
    image = write_raster(tmp_path / "a.tif", pixels)
    report = segment(image, small, tmp_path / "out", probabilities=True, precision="fp32")
    with torch.inference_mode():
        x = small.normalization(torch.from_numpy(pixels), torch.ones(80, 90, dtype=torch.bool))[None]
        logits = torch.nn.functional.interpolate(small.network(x), size=(80, 90), mode="bilinear")
        shares = logits.softmax(1)[0].numpy()
    got = read(report.probabilities)
    assert np.abs(got * 0.004 - shares).max() <= 0.002 + 1e-5
    assert np.abs(read(report.confidence)[0] * 0.004 - shares.max(0)).max() <= 0.002 + 1e-5


def test_temperature_flattens_confidence_and_keeps_classes(tmp_path: Path, oracle: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", noise(60, 60))
    warm = SegmentationModel(oracle.network, legend=oracle.legend, bands=oracle.bands, temperature=20.0)
    cold, hot = segment(image, oracle, tmp_path / "cold"), segment(image, warm, tmp_path / "hot")
    np.testing.assert_array_equal(read(cold.classes), read(hot.classes))
    assert read(hot.confidence).mean() < read(cold.confidence).mean()
