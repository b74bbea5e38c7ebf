"""Evaluation counts whole rasters, and counts right."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import blocks, nearest, noise, read, write_raster

from agriseg import SegmentationModel, load_model
from agriseg.cli import main
from agriseg.errors import DataError
from agriseg.evaluation.calibrate import Calibration, CalibrationSampler
from agriseg.evaluation.counts import BLOCK, EDGE, EvaluationCounts, count_pixels
from agriseg.evaluation.evaluate import count_model
from agriseg.evaluation.scores import Evaluation, score
from agriseg.grid import Window
from agriseg.labels.raster import LabelRaster
from agriseg.legend import Legend
from agriseg.metrics import SurestPixels, boundary_band, confusion, softmax_confidence
from agriseg.options.run import RunOptions

GREY = {"photometric": "MINISBLACK"}


def label_raster(path: Path, ids: np.ndarray, **profile: Any) -> LabelRaster:
    return LabelRaster.of(write_raster(path, ids[None], **GREY, **profile), range(4))


def ids(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Class ids 0 to 3 in patches of 9 px, with holes."""
    found = blocks(height, width, side=9, seed=seed)[0] // 64
    found[noise(height, width, seed=seed + 1)[0] < 20] = 255
    return found


def test_counts_are_those_of_the_whole_arrays(tmp_path: Path) -> None:
    truth, mapped = ids(600, 700), ids(600, 700, seed=5)
    sure = noise(600, 700, seed=9)[0] % 251
    labels = label_raster(tmp_path / "l.tif", truth)
    mask = write_raster(tmp_path / "m.tif", mapped[None], nodata=255, **GREY)
    confidence = write_raster(tmp_path / "c.tif", sure[None], nodata=255, **GREY)
    got = count_pixels(mask, confidence, labels, 4)
    np.testing.assert_array_equal(got.blocks.sum(0), confusion(truth, mapped, 4))
    assert len(got.blocks) == -(-600 // BLOCK) * -(-700 // BLOCK)
    counted = (truth != 255) & (mapped != 255)
    np.testing.assert_array_equal(got.pixels, np.bincount(sure[counted], minlength=251))
    np.testing.assert_array_equal(got.hits, np.bincount(sure[counted & (truth == mapped)], minlength=251))
    truth, mapped = np.where(counted, truth, 255), np.where(counted, mapped, 255)
    for k in range(4):
        t, m = boundary_band(truth == k, EDGE), boundary_band(mapped == k, EDGE)
        assert got.boundary[k].tolist() == [(t & m).sum(), (t | m).sum()]


def test_no_score_is_certain() -> None:
    """One block has no spread; where no error was seen there is doubt, the more the fewer blocks were seen."""
    none, widths = np.zeros(251, np.int64), []
    for blocks_seen in (1, 3, 30):
        counted = np.zeros((blocks_seen + 1, 3, 3), np.int64)
        counted[:blocks_seen, 0, 0], counted[:blocks_seen, 1, 1], counted[blocks_seen, 2, 2] = (
            500,
            20,
            90,
        )  # the third in one block alone
        scores = Evaluation(
            Legend.from_names("abc"), EvaluationCounts(counted, np.zeros((3, 2), np.int64), none, none)
        ).scores()
        ends = {entry.name: entry.iou_95 for entry in scores.classes}
        assert ends["c"] == [None, None]
        assert (ends["a"] == [None, None]) == (blocks_seen == 1)
        if blocks_seen > 1:
            assert ends["a"][0] < ends["a"][1] == 1
            widths.append(scores.miou_95[1] - scores.miou_95[0])
    assert widths[0] > widths[1] > 0
    alone = EvaluationCounts(np.array([[[900, 100], [50, 150]]]), np.zeros((2, 2), np.int64), none, none)
    assert Evaluation(Legend.from_names("ab"), alone).scores().miou_95 == [None, None]


@pytest.mark.parametrize("seed", range(5))
def test_the_surest_pixels_are_those_of_a_sorted_list(seed: int) -> None:
    """No fewer confidences would have the coverage; the accuracy is that of the pixels themselves."""
    rng = np.random.default_rng(seed)
    sure = rng.choice(251, 400, p=rng.dirichlet(np.full(251, 0.1)))
    right = rng.random(400) < sure / 250
    pixels, hits = np.bincount(sure, minlength=251), np.bincount(sure[right], minlength=251)
    for coverage in (1.0, 0.9, 0.5, rng.uniform(0.1, 1)):
        found = SurestPixels.at(pixels, hits, coverage)
        assert found is not None
        kept = sure >= round(250 * found.confidence)
        assert found.coverage == kept.mean() >= coverage > (sure > round(250 * found.confidence)).mean()
        assert found.accuracy == pytest.approx(right[kept].mean())
    assert SurestPixels.at(0 * pixels, 0 * hits, 0.9) is None


def test_a_perfect_map_and_the_rarest_class_first(tmp_path: Path, oracle: SegmentationModel) -> None:
    pixels = blocks(300, 320)
    image, truth = write_raster(tmp_path / "i.tif", pixels), nearest(pixels)
    truth[:50] = 255
    labels = label_raster(tmp_path / "l.tif", truth)
    scores = score([count_model(oracle, image, labels, tmp_path / "m", RunOptions(tile=128))], oracle.legend).scores()
    assert scores.miou == 1
    assert scores.pixels == 250 * 320
    assert [entry.boundary_iou for entry in scores.classes] == [1.0] * 4
    supports = [entry.support for entry in scores.classes]
    assert supports == sorted(supports)
    json.dumps(asdict(scores), allow_nan=False)


def test_a_window_is_counted_where_it_lies(tmp_path: Path, oracle: SegmentationModel) -> None:
    pixels = blocks(300, 320)
    image = write_raster(tmp_path / "i.tif", pixels)
    labels = label_raster(tmp_path / "l.tif", nearest(pixels))
    options = RunOptions(tile=128, window=Window(33, 70, 200, 150))
    got = score([count_model(oracle, image, labels, tmp_path / "m", options)], oracle.legend)
    assert got.miou == 1
    assert got.matrix.sum() == 200 * 150
    mask = tmp_path / "m" / "i_classes.tif"
    with pytest.raises(DataError, match="200 x 150"):
        count_pixels(mask, None, labels, 4)
    with pytest.raises(DataError, match="px beside"):
        count_pixels(mask, None, labels, 4, (34, 70))
    with pytest.raises(DataError, match="beyond"):
        count_pixels(mask, None, labels, 4, (200, 70))


def test_only_what_is_kept_counts(tmp_path: Path, oracle: SegmentationModel) -> None:
    pixels = blocks(200, 200)
    image = write_raster(tmp_path / "i.tif", pixels)
    labels = label_raster(tmp_path / "l.tif", nearest(pixels))
    left = replace(labels, keep=lambda w: np.broadcast_to(np.arange(w.col_off, w.col_stop) < 60, (w.height, w.width)))
    got = score([count_model(oracle, image, left, tmp_path / "m", RunOptions(tile=64))], oracle.legend)
    assert got.matrix.sum() == 200 * 60
    nothing = replace(labels, keep=lambda w: np.zeros((w.height, w.width), bool))
    with pytest.raises(DataError, match="no pixel is both labelled and mapped"):
        score([count_model(oracle, image, nothing, tmp_path / "m", RunOptions())], oracle.legend)


def test_stitched_and_chip_by_chip_differ(tmp_path: Path, small: SegmentationModel) -> None:
    """Chips are mapped without their neighbours, so their rims are worse; only the stitched figure is reported."""
    pixels = blocks(256, 256)
    image = write_raster(tmp_path / "i.tif", pixels)
    stitched = read_map(tmp_path / "whole", image, small)
    chips = np.zeros_like(stitched)
    for row in range(0, 256, 64):
        for col in range(0, 256, 64):
            part = write_raster(tmp_path / "chip.tif", pixels[:, row : row + 64, col : col + 64])
            chips[row : row + 64, col : col + 64] = read_map(tmp_path / "chip", part, small)
    labels = label_raster(tmp_path / "l.tif", stitched)  # the untiled map as truth
    by_chip = write_raster(tmp_path / "m.tif", chips[None], nodata=255, **GREY)
    options = RunOptions(tile=160, blend="exact")
    whole = score([count_model(small, image, labels, tmp_path / "again", options)], small.legend)
    assert whole.miou > 0.999
    assert score([count_pixels(by_chip, None, labels, 4)], small.legend).miou < 0.98


def read_map(folder: Path, image: Path, model: SegmentationModel) -> np.ndarray:
    from agriseg import segment

    return read(segment(image, model, folder, tile=512, overwrite=True).classes)[0]


def test_the_command(tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = blocks(150, 170)
    image, _ = write_raster(tmp_path / "i.tif", pixels), label_raster(tmp_path / "l.tif", nearest(pixels))

    def call(*args: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(["evaluate", str(image), str(tmp_path / "l.tif"), *args])
        assert left.value.code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    scores = json.loads(call("-m", str(model_file), "--json"))
    assert scores["pixels"] == 150 * 170
    assert "mIoU" in call("-m", str(model_file))
    mask = write_raster(tmp_path / "m.tif", nearest(pixels)[None], nodata=255, **GREY)
    perfect = json.loads(call("--mask", str(mask), "--classes", "a,b,c,d", "--json"))
    assert perfect["miou"] == 1
    assert perfect["expected_calibration_error"] is None


def test_a_witness_keeps_what_decides(tmp_path: Path, oracle: SegmentationModel) -> None:
    """Its logits decide each labelled pixel as the map does; unlabelled and empty ones are not kept."""
    pixels = blocks(300, 320, low=1)
    pixels[:, :30] = 0
    image = write_raster(tmp_path / "i.tif", pixels, nodata=0)
    truth = nearest(pixels)
    truth[:, :50] = 255
    labels = label_raster(tmp_path / "l.tif", truth)
    sampler = CalibrationSampler()
    evaluation = score(
        [count_model(oracle, image, labels, tmp_path / "m", RunOptions(tile=128), sampler)], oracle.legend, sampler
    )
    logits, kept, _ = map(np.concatenate, zip(*sampler._parts, strict=True))
    np.testing.assert_array_equal(logits.argmax(1), kept)
    assert np.bincount(kept).tolist() == np.bincount(truth[30:, 50:].ravel()).tolist()
    assert evaluation.calibration is not None
    assert evaluation.calibration.pixels == 270 * 270
    assert evaluation.calibration.doubt is None


@pytest.mark.parametrize("seed", range(2))
def test_a_temperature_is_of_the_labels_and_not_of_the_ground_around(
    seed: int, tmp_path: Path, oracle: SegmentationModel
) -> None:
    """Some labels, some of them wrong, at a random place of rasters of random sizes, one of more pixels than
    are kept: one temperature, of all of them."""
    rng = np.random.default_rng(seed)
    pixels = blocks(70, 90, side=5, seed=seed)
    truth = nearest(pixels)
    wrong = rng.random(truth.shape) < 0.1
    truth[wrong] = (truth[wrong] + 1) % 4
    truth[rng.random(truth.shape) < rng.uniform(0, 0.9)] = 255
    found = []
    for number, (height, width) in enumerate([(70, 90), rng.integers(110, 250, 2)]):
        row, col = rng.integers(0, height - 69), rng.integers(0, width - 89)
        ground, ids = noise(height, width, seed=seed), np.full((height, width), 255, np.uint8)
        ground[:, row : row + 70, col : col + 90], ids[row : row + 70, col : col + 90] = pixels, truth
        image = write_raster(tmp_path / f"{number}.tif", ground)
        labels = label_raster(tmp_path / f"{number}_l.tif", ids)
        sampler = CalibrationSampler(kept=10_000)
        count_model(oracle, image, labels, tmp_path / "m", RunOptions(tile=256), sampler)
        found.append(sampler.calibration())
    assert all(each is not None and each.pixels == (truth != 255).sum() for each in found)
    assert np.ptp([each.temperature for each in found if each]) < 1e-6, found


def test_of_more_labels_than_are_kept_any_may_be(tmp_path: Path, oracle: SegmentationModel) -> None:
    """Half of the ground is mapped right and half wrong: what is kept tells both."""
    pixels = blocks(200, 210, side=5)
    truth = nearest(pixels)
    truth[100:] = (truth[100:] + 1) % 4
    image, labels = write_raster(tmp_path / "i.tif", pixels), label_raster(tmp_path / "l.tif", truth)
    sampler = CalibrationSampler(kept=3000)
    count_model(oracle, image, labels, tmp_path / "m", RunOptions(tile=64), sampler)
    fitted = sampler.calibration()
    assert fitted is not None
    assert fitted.pixels == 3000
    right = np.concatenate([logits.argmax(1) == ids for logits, ids, _ in sampler._parts])
    assert right.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("count", [1, 10, 100])
def test_a_flawless_handful_proves_little(count: int) -> None:
    """Were it believed, each pixel of every map would be certain. A hundred thousand pixels are believed."""
    logits = np.tile(np.array([[0.0, 2.0]], np.float32), (100_000, 1))
    truth = np.ones(len(logits), np.uint8)
    few, many = Calibration.of(logits[:count], truth[:count]), Calibration.of(logits, truth)
    at_one = softmax_confidence(logits[:1], 1.0)[0]
    assert at_one < softmax_confidence(logits[:1], few.temperature)[0] < at_one + 0.02
    assert few.doubt is not None
    assert f"{count} labelled pixels" in few.doubt
    assert 0.99 < softmax_confidence(logits[:1], many.temperature)[0] < 1
    assert many.doubt is None


def test_a_fitted_temperature_makes_confidence_honest(tmp_path: Path, oracle: SegmentationModel) -> None:
    """One label in five is wrong, so a map that is sure of itself is not to be trusted; divided, it says 0.8."""
    pixels = blocks(400, 400, side=5)
    image, truth = write_raster(tmp_path / "i.tif", pixels), nearest(pixels)
    wrong = np.random.default_rng(0).random(truth.shape) < 0.2
    truth[wrong] = (truth[wrong] + 1) % 4
    labels = label_raster(tmp_path / "l.tif", truth)
    sampler = CalibrationSampler()
    before = score([count_model(oracle, image, labels, tmp_path / "m", RunOptions(), sampler)], oracle.legend, sampler)
    assert before.calibration is not None
    calmer = replace(oracle, temperature=before.calibration.temperature)
    after = score([count_model(calmer, image, labels, tmp_path / "n", RunOptions())], oracle.legend)
    errors = [each.scores().expected_calibration_error or 1 for each in (before, after)]
    assert errors[1] < 0.6 * errors[0]
    assert errors[1] == pytest.approx(before.calibration.error, abs=0.01)
    assert after.miou == before.miou


def test_folders_and_polygons(tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("i", "l"):
        (tmp_path / folder).mkdir()
    for seed, name in enumerate("ab"):
        pixels = blocks(90, 100, seed=seed)
        write_raster(tmp_path / f"i/{name}.tif", pixels)
        label_raster(tmp_path / f"l/{name}_mask.tif", nearest(pixels))
    out = tmp_path / "scores"
    command = ["evaluate", str(tmp_path / "i"), str(tmp_path / "l"), "--label-suffix", "_mask", "-m", str(model_file)]
    with pytest.raises(SystemExit) as left:
        main([*command, "-o", str(out), "--json"])
    printed = capsys.readouterr().out
    assert left.value.code == 0
    assert json.loads(printed)["pixels"] == 2 * 90 * 100
    assert json.loads(printed) == json.loads((out / "evaluation.json").read_text())
    assert {path.name for path in out.iterdir()} >= {"confusion.png", "a_classes.tif", "b_classes.tif"}
    with pytest.raises(SystemExit) as left:
        main([*command, "-o", str(out)])
    assert left.value.code == 73
    ring = [
        [500_001, 5_399_999],
        [500_003, 5_399_999],
        [500_003, 5_399_997],
        [500_001, 5_399_997],
        [500_001, 5_399_999],
    ]
    feature = {"type": "Feature", "properties": {"kind": "c2"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    named = {"type": "name", "properties": {"name": "EPSG:32632"}}
    tree = {"type": "FeatureCollection", "crs": named, "features": [feature]}
    (tmp_path / "p.geojson").write_text(json.dumps(tree))
    names = load_model(model_file).legend.names
    (tmp_path / "p.geojson").write_text((tmp_path / "p.geojson").read_text().replace("c2", names[2]))
    command = ["evaluate", str(tmp_path / "i/a.tif"), str(tmp_path / "p.geojson"), "-m", str(model_file), "--json"]
    with pytest.raises(SystemExit) as left:
        main([*command, "--column", "kind"])
    scores = json.loads(capsys.readouterr().out)
    assert {entry["name"]: entry["support"] for entry in scores["classes"]}[names[2]] == 20 * 20 == scores["pixels"]
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2


def test_a_class_that_is_in_no_label_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A useless map of one class everywhere is not perfect without a word."""
    image = write_raster(tmp_path / "i.tif", blocks(60, 70))
    label_raster(tmp_path / "l.tif", np.ones((60, 70), np.uint8))
    mask = write_raster(tmp_path / "m.tif", np.ones((1, 60, 70), np.uint8), nodata=255, **GREY)
    command = ["evaluate", str(image), str(tmp_path / "l.tif"), "--mask", str(mask), "--classes", "a,b,c"]
    with pytest.raises(SystemExit):
        main(command)
    out, err = capsys.readouterr()
    assert "mIoU 1.000 of 1 of 3 classes" in out
    assert "a, c: in no label that was scored" in err
    with pytest.raises(SystemExit):
        main([*command, "--json"])
    scores = json.loads(capsys.readouterr().out)
    assert (scores["miou"], scores["miou_classes"], scores["absent"]) == (1, 1, ["a", "c"])
    assert len(scores["doubts"]) == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "give either -m"),
        (["--mask", "m.tif"], "--mask without --classes"),
        (["--mask", "m.tif", "--classes", "a,b", "--tile", "64"], "--tile says how a model maps"),
        (["-m", "m", "--classes", "a,b"], "--classes with -m"),
        (["--mask", "m.tif", "--classes", "a,b", "--values", "0,x"], "whole numbers"),
        (["--mask", "m.tif", "--classes", "a,b", "--values", "0"], "1 values for 2 classes"),
    ],
)
def test_the_command_says_what_is_missing(flags: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["evaluate", "i.tif", "l.tif", *flags])
    assert left.value.code == 2
    assert says in capsys.readouterr().err
