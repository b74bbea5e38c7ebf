"""The curve of a model over the size of the pixels: measured right, and told by the verdict, its limits, inspect."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import blocks, nearest, read, write_raster
from hypothesis import given
from hypothesis import strategies as st

from agriseg import SegmentationModel, load_model, segment
from agriseg.cli import main
from agriseg.errors import ModelError
from agriseg.evaluation.coarse_images import write_coarse_image
from agriseg.evaluation.common_grid import CommonGrid, on_grid, pixels_at_centres
from agriseg.evaluation.evaluate import count_model, evaluate
from agriseg.evaluation.measure_gsd_curve import measure_gsd_curve
from agriseg.evaluation.scores import Evaluation, score
from agriseg.grid import Window
from agriseg.labels.raster import LabelRaster
from agriseg.labels.scene import Scene
from agriseg.mapping.record import curve_of, limits_of
from agriseg.metrics import confusion, mean_iou
from agriseg.options.run import RunOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import ValidityRule
from agriseg.training.config import TrainConfig
from agriseg.training.progress import Note
from agriseg.training.run import TrainOptions, train
from agriseg.training_facts import AMBER_LOSS, RED_LOSS, GsdCurve, GsdPoint
from agriseg.verdict import CRITERIA

GREY = {"photometric": "MINISBLACK"}
NATIVE = RunOptions(gsd="native", tile=128)
GSD = 0.1  # of `write_raster`


def curve(*mious: float) -> GsdCurve:
    return GsdCurve(True, 1.0, tuple(GsdPoint(f, m, {}) for f, m in zip((1.0, 1.5, 2.0, 3.0), mious, strict=False)))


def scene(folder: Path, pixels: np.ndarray, ids: np.ndarray, **profile: object) -> Scene:
    """An image and its labels as a training has them."""
    folder.mkdir(exist_ok=True)
    info = RasterInfo.read(write_raster(folder / "i.tif", pixels, **profile))
    labels = LabelRaster.of(write_raster(folder / "l.tif", ids[None], **GREY), range(4))
    bands = tuple(range(1, len(pixels) + 1))
    return Scene(Source(info, bands, ValidityRule.of(info), info.width, info.height), labels)


def evaluated(model: SegmentationModel, held: list[Scene], folder: Path) -> Evaluation:
    pairs = [(each.source.info.path, each.labels) for each in held]
    return score([count_model(model, *pair, folder, NATIVE) for pair in pairs], model.legend)


def expanded(ids: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each pixel of a finer grid with the value that contains its centre; the edges are whole multiples."""
    return ids.repeat(height // ids.shape[0], 0).repeat(width // ids.shape[1], 1)


# the common grid


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_a_pixel_has_the_value_at_its_centre(size: int, other: int, data: st.DataObject) -> None:
    """By fractions; a centre on an edge touches two pixels, and either may give the value."""
    start = data.draw(st.integers(0, other - 1))
    stop = data.draw(st.integers(start + 1, other))
    got = pixels_at_centres(size, other, start, stop)
    assert len(got) == stop - start
    for pixel, index in zip(range(start, stop), got.tolist(), strict=True):
        assert 0 <= index < size
        assert 2 * other * index <= (2 * pixel + 1) * size <= 2 * other * (index + 1)
    assert (np.diff(got) >= 0).all()


@pytest.mark.parametrize(("size", "other"), [(40, 60), (40, 80), (30, 90), (45, 90), (80, 40), (90, 60)])
def test_no_side_is_preferred(size: int, other: int) -> None:
    """The centres of the values lie at the centres of the pixels in the mean: nothing is shifted."""
    got = pixels_at_centres(size, other, 0, other)
    own, there = (np.arange(other) + 0.5) / other, (got + 0.5) / size
    assert np.mean(there - own) == pytest.approx(0, abs=1e-12)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
def test_windows_are_parts_of_the_whole(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 255, (height, width)).astype(np.uint8)
    grid = int(rng.integers(1, 60)), int(rng.integers(1, 60))
    reader = on_grid(lambda w: ids[w.row_off : w.row_stop, w.col_off : w.col_stop], (width, height), grid)
    whole = reader(Window(0, 0, *grid))
    left, top = int(rng.integers(0, grid[0])), int(rng.integers(0, grid[1]))
    part = Window(left, top, int(rng.integers(1, grid[0] - left + 1)), int(rng.integers(1, grid[1] - top + 1)))
    np.testing.assert_array_equal(reader(part), whole[part.row_off : part.row_stop, part.col_off : part.col_stop])


@given(st.integers(1, 50), st.integers(1, 50), st.data())
def test_the_parts_of_a_map_are_the_whole(labels: int, working: int, data: st.DataObject) -> None:
    """Maps of two neighbouring windows share no pixel of the common grid, and leave none out."""
    cut = data.draw(st.integers(0, working))
    spans = [(start, stop) for start, stop in ((0, cut), (cut, working)) if start < stop]
    grids = [CommonGrid.of((labels, 1), (working, 1), Window(start, 0, stop - start, 1)) for start, stop in spans]
    covered = [col for grid in grids for col in range(grid.window.col_off, grid.window.col_stop)]
    assert covered == list(range(max(labels, working)))


# evaluate scores what run makes


@pytest.mark.parametrize(
    ("gsd", "window"), [(GSD / 2, None), (GSD / 2, (20, 30, 60, 40)), (2 * GSD, None), (GSD, None)]
)
def test_evaluate_scores_the_map_that_run_makes(
    tmp_path: Path, oracle: SegmentationModel, gsd: float, window: tuple[int, int, int, int] | None
) -> None:
    """A raster twice as coarse, or as fine, as the model: its map beside labels on the raster's own pixels."""
    pixels = blocks(120, 160, side=6, seed=3)
    truth = nearest(pixels)
    truth[np.random.default_rng(0).random(truth.shape) < 0.2] = 255
    image = write_raster(tmp_path / "i.tif", pixels)
    write_raster(tmp_path / "l.tif", truth[None], **GREY)
    model = replace(oracle, gsd=gsd)
    options = RunOptions(tile=128) if window is None else RunOptions(tile=128, window=Window(*window))
    got = evaluate(model, image, tmp_path / "l.tif", options=options, folder=tmp_path / "maps")
    mapped = read(segment(image, model, tmp_path / "run", tile=128, window=window).classes)[0]
    left, top, width, height = window or (0, 0, 160, 120)
    labelled = truth[top : top + height, left : left + width]
    size = max(height, mapped.shape[0]), max(width, mapped.shape[1])
    expected = confusion(expanded(labelled, *size), expanded(mapped, *size), 4)
    np.testing.assert_array_equal(got.matrix, expected)
    assert (got.resampled is None) == (gsd == GSD)
    native = evaluate(model, image, tmp_path / "l.tif", options=replace(options, gsd="native"))
    assert native.miou == 1
    assert native.matrix.sum() == (labelled != 255).sum()


def test_labels_without_a_georeference_fit_a_resampled_map(tmp_path: Path, oracle: SegmentationModel) -> None:
    pixels = blocks(60, 80, side=6)
    image = write_raster(tmp_path / "i.tif", pixels)
    bare = {"crs": None, "transform": None}
    write_raster(tmp_path / "l.tif", nearest(pixels)[None], **GREY, **bare)
    got = evaluate(replace(oracle, gsd=GSD / 2), image, tmp_path / "l.tif")
    assert got.matrix.sum() == 4 * 60 * 80
    assert got.miou > 0.5
    assert got.counts.patches.labelled.square_metres.min() > 0


def test_the_command_says_that_it_resamples(
    tmp_path: Path, small: SegmentationModel, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = blocks(60, 80, side=6)
    image = write_raster(tmp_path / "i.tif", pixels)
    write_raster(tmp_path / "l.tif", nearest(pixels)[None], **GREY)
    replace(small, gsd=0.05).save(tmp_path / "m.safetensors")
    command = ["evaluate", str(image), str(tmp_path / "l.tif"), "-m", str(tmp_path / "m.safetensors")]
    for flags, says in (([], True), (["--gsd", "native"], False)):
        with pytest.raises(SystemExit) as left:
            main([*command, *flags])
        assert left.value.code == 0
        assert ("1 of 1 rasters are resampled to 5 cm per pixel" in capsys.readouterr().err) == says


# coarse images


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_an_averaged_image_is_the_mean_of_blocks(tmp_path: Path, factor: int, dtype: str) -> None:
    rng = np.random.default_rng(factor)
    pixels = rng.integers(1, 250, (4, 6 * 90, 6 * 110)).astype(dtype)
    holes = rng.random(pixels.shape[1:]) < 0.3
    pixels[:, holes] = 0
    made = scene(tmp_path, pixels, np.zeros(pixels.shape[1:], np.uint8), nodata=0, **GREY).source
    size = made.width // factor, made.height // factor
    out = tmp_path / "c.tif"
    write_coarse_image(out, made, size, [Window(0, 0, *size)])
    shape = (4, size[1], factor, size[0], factor)
    valid = (~holes).reshape(shape[1:]).mean((1, 3))
    sums = pixels.astype(float).reshape(shape).sum((2, 4))
    mean = sums / np.maximum((~holes).reshape(shape[1:]).sum((1, 3)), 1)
    known = valid >= 0.5
    with rasterio.open(out) as written:
        got, mask = written.read(), written.dataset_mask() > 0
        assert written.transform == made.info.georeference.transform @ rasterio.Affine.scale(factor)
    np.testing.assert_array_equal(mask, known)
    assert np.abs(got[:, known] - mean[:, known]).max() <= (1e-3 if dtype == "float32" else 0.5 + 1e-3)
    assert RasterInfo.read(out).gsd == pytest.approx((factor * GSD, factor * GSD))


def test_what_is_not_written_has_no_data(tmp_path: Path) -> None:
    pixels = blocks(900, 1200, low=1)
    source = scene(tmp_path, pixels, np.zeros((900, 1200), np.uint8)).source
    part = Window(301, 20, 150, 200)
    write_coarse_image(tmp_path / "c.tif", source, (600, 450), [part])
    with rasterio.open(tmp_path / "c.tif") as written:
        mask = written.dataset_mask() > 0
    assert mask[part.within(Window(0, 0, 600, 450))].all()
    assert mask.sum() == part.width * part.height


# the curve


@pytest.mark.parametrize("gsd", [GSD, None])
def test_the_curve_is_that_of_the_maps_of_averaged_images(
    tmp_path: Path, oracle: SegmentationModel, gsd: float | None
) -> None:
    """Each point by hand: blocks of pixels averaged, mapped by run, the map beside the labels."""
    pixels = blocks(6 * 30, 6 * 40, side=5, seed=1)
    truth = nearest(pixels)
    truth[:60] = 255
    held, model = scene(tmp_path, pixels, truth), replace(oracle, gsd=gsd)
    whole = evaluated(model, [held], tmp_path / "m")
    got = measure_gsd_curve(model, [held], whole, tmp_path / "coarse", NATIVE, 10**9)
    assert (got.resampled, got.labels_share) == (gsd is not None, 1)
    assert [point.factor for point in got.points] == [1, 1.5, 2, 3]
    assert (got.points[0].miou, got.points[0].iou) == (whole.miou, whole.iou)
    assert not (tmp_path / "coarse").exists()
    for factor, point in [(2, got.points[2]), (3, got.points[3])]:
        shape = (3, 180 // factor, factor, 240 // factor, factor)
        averaged = np.rint(pixels.astype(np.float64).reshape(shape).mean((2, 4))).astype(np.uint8)
        where = {"transform": held.source.info.georeference.transform @ rasterio.Affine.scale(factor)}
        image = write_raster(tmp_path / "a.tif", averaged, **where)
        mapped = read(segment(image, model, tmp_path / "run", overwrite=True).classes)[0]
        assert mapped.shape == ((180, 240) if gsd else averaged.shape[1:])
        assert point.miou == pytest.approx(mean_iou(confusion(truth, expanded(mapped, 180, 240), 4)), abs=1e-9)


def test_the_labels_that_are_not_held_back_do_not_count(tmp_path: Path, oracle: SegmentationModel) -> None:
    """Wrong labels elsewhere change nothing."""
    pixels = blocks(180, 240, side=5)
    right = nearest(pixels)
    found = []
    for number, elsewhere in enumerate((right, (right + 1) % 4)):
        ids = right.copy()
        ids[:, 100:] = elsewhere[:, 100:]
        whole = scene(tmp_path / str(number), pixels, ids.astype(np.uint8))
        labels = replace(
            whole.labels, keep=lambda w: np.broadcast_to(np.arange(w.col_off, w.col_stop) < 100, (w.height, w.width))
        )
        held, model = Scene(whole.source, labels), replace(oracle, gsd=GSD)
        evaluation = evaluated(model, [held], tmp_path / "m")
        assert evaluation.miou == 1
        found.append(measure_gsd_curve(model, [held], evaluation, tmp_path / "c", NATIVE, 10**9))
    assert found[0] == found[1]
    assert 0.2 < found[0].points[-1].miou < found[0].points[1].miou < 1


@pytest.mark.parametrize("normalize_by", ["training", "raster"])
def test_a_part_of_the_ground_stands_for_many_labels(
    tmp_path: Path, small: SegmentationModel, normalize_by: str
) -> None:
    """The parts are the same in each run, their share is told, and their scores are those of their own labels."""
    pixels = blocks(40, 5000, side=6, low=20)
    ids = nearest(pixels)
    model = replace(small, gsd=GSD, normalize_by=normalize_by)
    held = [scene(tmp_path, pixels, ids)]
    with_mean = [Scene(each.source, each.labels, tuple(pixels.mean((1, 2)))) for each in held]
    whole = evaluated(model, with_mean, tmp_path / "m")
    parts = [measure_gsd_curve(model, with_mean, whole, tmp_path / "c", NATIVE, 90_000) for _ in range(2)]
    assert parts[0] == parts[1]
    assert 0 < parts[0].labels_share < 0.5
    every = measure_gsd_curve(model, with_mean, whole, tmp_path / "c", NATIVE, 10**9)
    assert every.labels_share == 1
    assert every.own_miou == whole.miou
    for one, other in zip(parts[0].points, every.points, strict=True):
        assert one.miou == pytest.approx(other.miou, abs=0.05)


def test_a_curve_ends_where_nothing_is_left(tmp_path: Path, oracle: SegmentationModel) -> None:
    """A strip of data two pixels wide covers less than half of pixels five times as large."""
    pixels = blocks(60, 60, low=1)
    pixels[:, :, 1:3] = 1
    pixels[:, :, np.arange(60) % 3 != 1] = 0
    held = scene(tmp_path, pixels, np.ones((60, 60), np.uint8), nodata=0)
    got = measure_gsd_curve(oracle, [held], evaluated(oracle, [held], tmp_path / "m"), tmp_path / "c", NATIVE, 10**9)
    assert [point.factor for point in got.points] != [1, 1.5, 2, 3]


# limits


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_limits_come_before_the_loss(mious: list[float]) -> None:
    """Up to the amber limit less than 0.05 is lost, up to the red one less than 0.1; they are never looser than the
    criterion's own."""
    own = CRITERIA["gsd_ratio"].limits
    made = curve(*mious)
    limits = made.limits(own)
    assert 1 <= limits[0] <= own[0]
    assert limits[0] <= limits[1] <= own[1]
    for limit, loss in zip(limits, (AMBER_LOSS, RED_LOSS), strict=True):
        for factor in np.linspace(1, min(limit, made.points[-1].factor), 40):
            assert made.own_miou - (made.miou_at(factor) or 0) <= loss + 1e-9


@pytest.mark.parametrize(
    ("mious", "expected"),
    [
        ((0.8, 0.8, 0.8, 0.8), (1.25, 2)), ((0.8, 0.81, 0.8, 0.3), (1.25, 2)), ((0.8, 0.7, 0.6, 0.5), (1.25, 1.5)),
        ((0.8, 0.3, 0.3, 0.3), (1.05, 1.1)), ((0.8,), (1.25, 2)), ((0.8, 0.78, 0.5, 0.9), (1.25, 1.64)),
    ],
)  # fmt: skip
def test_limits_by_hand(mious: tuple[float, ...], expected: tuple[float, float]) -> None:
    assert curve(*mious).limits((1.25, 2.0)) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=4), st.floats(0.5, 4))
def test_between_points_the_curve_is_linear(mious: list[float], factor: float) -> None:
    made = curve(*mious)
    factors = [point.factor for point in made.points]
    got = made.miou_at(factor)
    if factors[0] <= factor <= factors[-1]:
        assert got == pytest.approx(np.interp(factor, factors, mious))
    else:
        assert got is None


def with_curve(model: SegmentationModel, made: GsdCurve | None, **about: object) -> SegmentationModel:
    values = json.loads(json.dumps(asdict(made))) if made else None
    return replace(model, gsd=GSD / 1.5, about={**about, "gsd_curve": values, "correlation": np.eye(3).tolist()})


def test_a_model_file_keeps_its_curve(tmp_path: Path, small: SegmentationModel) -> None:
    made = curve(0.8, 0.7, 0.6, 0.5)
    with_curve(small, made).save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert curve_of(loaded) == made
    assert limits_of(loaded).all["gsd_ratio"] == (1.25, 1.5)
    assert loaded.fingerprint == replace(small, gsd=loaded.gsd).fingerprint, "it does not change a map"
    assert limits_of(small).chosen == {}


def test_the_limits_of_a_user_come_first(small: SegmentationModel) -> None:
    model = with_curve(small, curve(0.8, 0.3), limits=["gsd_ratio=1.2:3", "distance=3:5"])
    assert limits_of(model).chosen == {"gsd_ratio": (1.2, 3), "distance": (3, 5)}
    unknown = replace(with_curve(small, curve(0.8, 0.3)), gsd=None)
    assert limits_of(unknown).chosen == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values["points"].clear(),
        lambda values: values["points"].reverse(),
        lambda values: values["points"][0].update(miou=7),
        lambda values: values.pop("resampled"),
        lambda values: values.update(points="none"),
    ],
)
def test_a_damaged_curve_is_one_line(small: SegmentationModel, spoil: Callable[[dict], object]) -> None:
    model = with_curve(small, curve(0.8, 0.7))
    spoil(model.about["gsd_curve"])
    with pytest.raises(ModelError, match="gsd_curve") as error:
        curve_of(model)
    assert "\n" not in str(error.value)


# the verdict and inspect


def test_the_verdict_tells_what_the_curve_foretells(tmp_path: Path, small: SegmentationModel) -> None:
    image = write_raster(tmp_path / "i.tif", blocks(60, 70))
    said = {}
    for name, made in {"curve": curve(0.8, 0.7, 0.6), "short": curve(0.8), "none": None}.items():
        model = with_curve(small, made)
        for gsd in ("auto", "native"):
            verdict = segment(image, model, tmp_path / "out", gsd=gsd, overwrite=True).verdict
            assert verdict.gsd_ratio == pytest.approx(1.5, rel=0.01)
            said[name, gsd] = next(text for text in verdict.reasons if "times as large" in text)
    foretold = "1.50 times as large as in the training data (limits 1.25, 1.5): on its held-back labels the model then"
    assert foretold in said["curve", "auto"]
    assert "has a mean IoU of 0.70 instead of 0.80" in said["curve", "auto"]
    plain = "1.50 times as large, or as small, as in the training data"
    assert all(plain in said[key] for key in said if key != ("curve", "auto")), said


@pytest.mark.parametrize("flag", ["--json", None])
def test_inspect_tells_the_curve(
    tmp_path: Path, small: SegmentationModel, capsys: pytest.CaptureFixture[str], flag: str | None
) -> None:
    image = write_raster(tmp_path / "i.tif", blocks(60, 70))
    with_curve(small, curve(0.8, 0.7, 0.6)).save(tmp_path / "m.safetensors")
    with pytest.raises(SystemExit):
        main(["inspect", str(image), "-m", str(tmp_path / "m.safetensors"), *([flag] if flag else [])])
    out = capsys.readouterr().out
    if flag:
        facts = json.loads(out)
        assert facts["gsd_ratio"] == pytest.approx(1.5, rel=0.01)
        assert facts["foretold_miou"] == pytest.approx(0.7, abs=0.01)
        assert facts["gsd_curve"]["points"][2] == {"factor": 2.0, "miou": 0.6, "iou": {}}
    else:
        assert "mean IoU 0.800; with larger pixels, resampled to the model's GSD: 1.5 times 0.700, 2 times 0.600" in out
        assert "1.50 times as large, or as small, as in the training: mean IoU 0.700 by the curve" in out
    with pytest.raises(SystemExit):
        main(["model", "show", str(tmp_path / "m.safetensors")])
    assert "1.5 times 0.700" in capsys.readouterr().out


# the end of a training


@pytest.mark.parametrize("georeferenced", [True, False])
def test_a_training_measures_the_curve_on_what_is_held_back(tmp_path: Path, georeferenced: bool) -> None:
    """Its first point is the evaluation; the card has a table; a time that a map shares is not spent on it."""
    place: dict[str, object] = {} if georeferenced else {"crs": None, "transform": None}
    pixels = blocks(200, 260, side=10, low=1)
    write_raster(tmp_path / "a.tif", pixels, **place)
    write_raster(tmp_path / "l.tif", nearest(pixels)[None], **GREY, **place)
    tables = {
        "classes": list("abcd"),
        "arch": "fcn_small",
        "data": {"images": "a.tif", "labels": "l.tif"},
        "validation": {"block": 64, "buffer": 0},
        "recipe": {"steps": 2, "chip": 64, "batch": 2, "validate_every": 2},
    }
    config, notes = TrainConfig.of(tables, tmp_path), []
    trained = train(config, tmp_path / "out", TrainOptions(report=notes.append))
    model = load_model(trained.model)
    made = curve_of(model)
    assert made is not None
    assert (made.resampled, made.labels_share) == (georeferenced, 1)
    assert made.points[0] == GsdPoint(1.0, trained.evaluation.miou, trained.evaluation.iou)
    assert Note(made.text) in notes
    assert f"| 3 | {made.points[-1].miou:.3f} |" in trained.model.with_suffix(".md").read_text()
    hurried = train(config, tmp_path / "hurried", TrainOptions(since=time.monotonic()))
    assert curve_of(load_model(hurried.model)) is None
    assert "times as large" not in hurried.model.with_suffix(".md").read_text()
