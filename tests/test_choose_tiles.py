"""`--tile auto`: least work, labels as near to the exact ones as is said, and the same choice again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import blocks, layer_bytes, read, write_raster

from agriseg import SegmentationModel, segment
from agriseg.backends.torch_backend import TorchBackend
from agriseg.cli import main
from agriseg.demo.reference_models import random_network
from agriseg.errors import GridError, UsageError
from agriseg.grid import Axis
from agriseg.inference.coverage import Coverage
from agriseg.inference.edge_effect import edge_weights
from agriseg.mapping.prepare import MappingJob, prepare
from agriseg.mapping.record import identity_of
from agriseg.mapping.verify import verify
from agriseg.maps.record import RunRecord
from agriseg.options.run import RunOptions

AUTO = {"tile": "256", "overlap": "auto", "tolerance": "2%", "precision": "fp32"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Larger than a tile, with a corner without data."""
    pixels = blocks(1300, 1500, low=1)
    pixels[:, :400, :500] = 0
    return write_raster(tmp_path_factory.mktemp("auto") / "a.tif", pixels, nodata=0, tiled=True)


def network_pixels(job: MappingJob) -> int:
    grid = job.plan.grid
    return job.plan.tiles * grid.rows.length * grid.cols.length


@pytest.mark.parametrize("seed", range(12))
def test_never_more_work_than_the_default_tiles(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(300, 2000, 2))
    raster = write_raster(tmp_path / "a.tif", blocks(height, width, seed=seed))
    model = random_network(str(rng.choice(["fcn_small", "unet_small"])), seed=seed)
    flags: dict[str, Any] = {
        "blend": str(rng.choice(["exact", "smooth", "fast"])),
        "tile": rng.choice(np.array(["auto", 256], object)),
        "overlap": rng.choice(np.array([None, "auto", "10%"], object)),
    }
    if flags["tile"] != "auto":
        flags["overlap"] = "auto"
    without = {name: None if value == "auto" else value for name, value in flags.items()}
    default = prepare(raster, model, RunOptions.of(**without))
    chosen = prepare(raster, model, RunOptions.of(**flags))
    known = chosen.certificate
    assert network_pixels(chosen) <= network_pixels(default)
    if known is None:
        assert chosen.plan == default.plan
        return
    assert known.work * height * width == pytest.approx(network_pixels(chosen))
    assert known.default_work * height * width == pytest.approx(network_pixels(default))
    assert known.probe_work <= known.default_work / 4
    if known.default_disagreement is not None:
        assert known.disagreement <= known.default_disagreement


def untiled(model: SegmentationModel, pixels: np.ndarray) -> np.ndarray:
    """(H, W) labels of one forward over everything; the sides are multiples of the stride."""
    x = (torch.from_numpy(pixels).float() * model.scale - 0.5) / 0.25
    x[:, (pixels == 0).all(0)] = 0
    with torch.inference_mode():
        logits = model.network.eval()(x[None])
        logits = torch.nn.functional.interpolate(logits, size=pixels.shape[1:], mode="bilinear", align_corners=False)
    return logits[0].numpy().argmax(0)


@pytest.mark.parametrize("seed", range(3))
def test_the_certificate_is_within_a_factor_of_two_of_the_whole_raster(tmp_path: Path, image: Path, seed: int) -> None:
    model = random_network("fcn_small", seed=seed)
    report = segment(image, model, tmp_path, **AUTO)
    labels, known = read(report.classes)[0], RunRecord.read(report.record).tiling
    valid = labels != 255
    unlike = float((labels != untiled(model, read(image)))[valid].mean())
    assert known is not None
    assert 0 < known.disagreement <= 0.02
    assert unlike / 2 < known.disagreement < unlike * 2
    low, high = known.disagreement_95
    assert low < known.disagreement < high


def test_weights_by_distance_are_those_of_every_pixel() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        stride = int(rng.choice([1, 2, 4]))
        tile, overlap = 16 * stride, int(rng.integers(0, 9)) * stride
        margin = int(rng.integers(0, overlap // 2 // stride + 1)) * stride
        axis = Axis(int(rng.integers(20, 300)), tile, overlap, margin, stride, stride)
        sums = np.zeros(20)
        for index in range(len(axis)):
            first, last = axis.footprint(index)
            start, stop = axis.origin(index), axis.origin(index) + axis.length
            rise = np.sin(np.pi / 2 * (np.arange((overlap - 2 * margin) // stride) + 0.5) * stride) ** 2
            for pixel in range(first, last):
                weight = 1.0
                if index and (pixel - first) // stride < len(rise):
                    weight = _ramp((pixel - first) // stride, len(rise))
                if index < len(axis) - 1 and (last - 1 - pixel) // stride < len(rise):
                    weight = 1 - _ramp(len(rise) - 1 - (last - 1 - pixel) // stride, len(rise))
                for distance, inner in ((pixel - start, start > 0), (stop - 1 - pixel, stop < axis.padded)):
                    if inner and distance < 20:
                        sums[distance] += weight
        assert edge_weights(axis, 20) == pytest.approx(sums, abs=1e-4), axis


def _ramp(place: int, length: int) -> float:
    return float(np.sin(np.pi / 2 * (place + 0.5) / length) ** 2)


def test_the_same_choice_again_and_for_workers(image: Path, small: SegmentationModel) -> None:
    job, again = (prepare(image, small, RunOptions.of(**AUTO)) for _ in range(2))
    assert job.certificate is not None
    assert job.certificate == again.certificate
    assert identity_of(job).key == identity_of(again).key
    worker = prepare(image, small, job.numbered_options)
    assert worker.certificate is None
    assert worker.plan == job.plan
    assert identity_of(worker).key == identity_of(job).key


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, image: Path, small: SegmentationModel) -> None:
    segment(image, small, tmp_path / "straight", **AUTO)
    plain, left = TorchBackend.logits, 60

    def stopping(self: TorchBackend, x: torch.Tensor) -> torch.Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return plain(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchBackend, "logits", stopping)
        with pytest.raises(KeyboardInterrupt):
            segment(image, small, tmp_path / "again", **AUTO)
    assert (tmp_path / "again" / ".a.agriseg" / "blocks").exists()
    segment(image, small, tmp_path / "again", **AUTO)
    assert layer_bytes(tmp_path / "again") == layer_bytes(tmp_path / "straight")
    segment(image, small, tmp_path / "other", **AUTO, batch=3, threads=4)
    assert layer_bytes(tmp_path / "other") == layer_bytes(tmp_path / "straight")


def test_a_map_with_chosen_tiles_checks(tmp_path: Path, image: Path, model_file: Path) -> None:
    arguments = [image, "-m", model_file, "--tile", "256", "--overlap", "auto", "--tolerance", "2%"]
    with pytest.raises(SystemExit, match="0"):
        main(["run", *map(str, arguments), "-o", str(tmp_path), "-q"])
    wrong = [each for each in verify(tmp_path) if each.wrong]
    assert not wrong


def test_the_choice_is_told(image: Path, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(image), "-m", str(model_file), "--tile", "256", "--overlap", "auto", "--tolerance", "2%"]
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", *arguments])
    text = capsys.readouterr().out
    assert "chosen  tiles of 256 px, overlap" in text
    assert "of the labels" in text
    assert "with the default tiles" in text


def test_chosen_tiles_fit_the_memory(image: Path, small: SegmentationModel) -> None:
    free = prepare(image, small, RunOptions.of(tile="auto"))
    bound = free.plan.memory.total - 5_000_000
    tight = prepare(image, small, RunOptions.of(tile="auto", max_memory=bound))
    assert tight.plan.memory.total <= bound
    assert tight.plan.grid != free.plan.grid


def test_rasters_with_nothing_to_choose(tmp_path: Path, small: SegmentationModel) -> None:
    one_tile = write_raster(tmp_path / "small.tif", blocks(300, 200))
    job = prepare(one_tile, small, RunOptions.of(tile="auto"))
    assert job.certificate is None
    assert job.plan == prepare(one_tile, small, RunOptions()).plan
    assert "default" in str(job.chosen_tiles)
    empty = write_raster(tmp_path / "empty.tif", np.zeros((3, 1200, 1100), np.uint8), nodata=0)
    report = segment(empty, small, tmp_path / "out", tile="auto")
    assert report.tiles == 0


def test_a_window_is_planned_for_itself(image: Path, small: SegmentationModel) -> None:
    options = {"window": "700,600,300,200", "precision": "fp32"}
    chosen = prepare(image, small, RunOptions.of(tile="auto", **options))
    assert network_pixels(chosen) <= network_pixels(prepare(image, small, RunOptions.of(**options)))


def test_what_contradicts_auto_is_refused(tmp_path: Path, image: Path) -> None:
    for flags, text in (
        ({"tile": "auto", "margin": 16}, "leave it out, or give --overlap"),
        ({"tile": "auto", "tolerance": "150%"}, "below 1"),
        ({"tile": "wide"}, "expected pixels such as 512, or auto"),
    ):
        with pytest.raises(UsageError, match=text):
            RunOptions.of(**flags)
    with pytest.raises(UsageError, match="add --tile auto"):
        prepare(image, random_network("fcn_small"), RunOptions.of(tolerance="1%"))
    with pytest.raises(GridError, match=r"sees the whole image.*leave out --tile auto"):
        prepare(image, random_network("lraspp_mobilenet_v3_large"), RunOptions.of(tile="auto"))


def test_tiles_with_data_are_counted_from_a_lattice(image: Path, small: SegmentationModel) -> None:
    job = prepare(image, small, RunOptions.of(tile=128))
    valid = (read(image) != 0).any(0)
    grid, count = job.plan.grid, 0
    for row in job.plan.tile_rows:
        for col in job.plan.tile_cols:
            (top, bottom), (left, right) = grid.rows.footprint(row), grid.cols.footprint(col)
            count += bool(valid[top:bottom, left:right].any())
    seen = Coverage.look(job.model_input.source, job.plan.roi)
    assert seen.tiles(job.plan) == pytest.approx(count, rel=0.05)
    assert count < job.plan.tiles
