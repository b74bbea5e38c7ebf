"""Verdicts: green for what the model knows, amber or red for what it does not, each for its own reason."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import DATA, blocks, write_raster
from hypothesis import given
from hypothesis import strategies as st

import agriseg
from agriseg import RunReport, SegmentationModel, load_model, segment
from agriseg.bundled_models import bundled_model
from agriseg.errors import DataError, ModelError, UsageError
from agriseg.mapping.prepare import prepare
from agriseg.mapping.record import training_facts
from agriseg.maps.record import RunRecord
from agriseg.options.run import RunOptions
from agriseg.options.verdict import NOT_JUDGED, VerdictLimits
from agriseg.raster import pixel_sample
from agriseg.training_facts import TrainingFacts, distance
from agriseg.verdict import Verdict, VerdictInput, assess

CLEAN = VerdictInput(
    training=TrainingFacts("m", 1.0, (0.0,), (1.0,), None, {"correlation": [[1.0]]}), raster_gsd=(1.0, 1.0), gsd="auto",
    sample_mean=(0.0,), sample_valid=10_000, sample_enough=True, pixels=1, predicted=1, nodata=0, failed=0,
    doubtful=(0,), class_pixels=(1,), seam_ratio=None,
)  # fmt: skip
"""Of a map without a doubt."""
FIELD = Path(__file__).parents[1] / "examples" / "polygon_field" / "field.tif"


def knowing(model: SegmentationModel, pixels: np.ndarray, **more: Any) -> SegmentationModel:
    """The model, with the statistics of these pixels, as training would give it."""
    flat = pixels.reshape(len(pixels), -1).astype(float) * model.scale
    about = {"correlation": np.corrcoef(flat).tolist()}
    return replace(model, mean=tuple(flat.mean(1)), std=tuple(flat.std(1)), about=about, temperature=1e-5, **more)


@pytest.fixture
def pixels() -> np.ndarray:
    """Three bands that rise and fall together, each with a mean of its own."""
    grey = blocks(130, 150, low=40)[0].astype(float)
    rng = np.random.default_rng(0)
    bands = [0.6 * grey + rng.normal(level, 6, grey.shape) for level in (80, 60, 20)]
    return np.clip(np.stack(bands), 1, 255).astype(np.uint8)


def test_what_the_model_knows_is_green(tmp_path: Path, small: SegmentationModel, pixels: np.ndarray) -> None:
    report = segment(write_raster(tmp_path / "a.tif", pixels), knowing(small, pixels), tmp_path / "out")
    assert report.verdict.colour == "green"
    assert report.verdict.reasons == ()
    assert report.verdict.distance < 0.1
    assert RunRecord.read(report.record).verdict == report.verdict


def changed(pixels: np.ndarray, kind: str) -> np.ndarray:
    holed = pixels.copy()
    holed[:, 3:] = 0
    kinds = {"swapped": pixels[[2, 1, 0]], "dark": pixels // 5, "holed": holed}
    return kinds.get(kind, pixels)


@pytest.mark.parametrize(
    ("kind", "colour", "says"),
    [
        ("swapped", "red", "bands in another order"), ("dark", "red", "other light"), ("holed", "amber", "has no data"),
        ("coarse", "red", "3.00 times as large"), ("unknown", "amber", "GSD of the image is unknown"),
        ("doubted", "red", "have a low confidence"),
    ],
)  # fmt: skip
def test_what_it_does_not_know(
    tmp_path: Path, small: SegmentationModel, pixels: np.ndarray, kind: str, colour: str, says: str
) -> None:
    model = knowing(small, pixels, gsd={"coarse": 0.1 / 3, "unknown": 0.1}.get(kind))
    if kind == "doubted":
        model = replace(model, temperature=100.0)
    place: dict[str, Any] = {"crs": None, "transform": None} if kind == "unknown" else {}
    image = write_raster(tmp_path / "a.tif", changed(pixels, kind), nodata=0, **place)
    report = segment(image, model, tmp_path / "out")
    assert report.verdict.colour == colour, report.verdict
    assert says in report.verdict.reasons[0]
    assert len(report.verdict.reasons) == (2 if kind == "doubted" else 1), "all doubts, and those of a class"


def test_finer_pixels_count_only_where_they_are_not_averaged(
    tmp_path: Path, small: SegmentationModel, pixels: np.ndarray
) -> None:
    image, model = write_raster(tmp_path / "a.tif", pixels), knowing(small, pixels, gsd=0.3)
    averaged, native = (segment(image, model, tmp_path / gsd, gsd=gsd).verdict for gsd in ("auto", "native"))
    assert averaged.gsd_ratio == 1
    assert native.gsd_ratio == pytest.approx(3, rel=0.01)


def test_the_distance_is_that_of_mahalanobis(small: SegmentationModel) -> None:
    rng = np.random.default_rng(1)
    sample = rng.normal(size=(3, 5000)) + rng.normal(size=5000)
    model = knowing(small, sample / small.scale)
    z = (sample - sample.mean(1, keepdims=True)) / sample.std(1, keepdims=True)
    covariance = np.cov(z, bias=True) + 0.01 * np.eye(3)
    shift = np.array([0.5, -0.2, 0.1])
    colour = (sample.mean(1) + shift * sample.std(1)) / small.scale
    expected = np.sqrt(shift @ np.linalg.inv(covariance) @ shift)
    assert distance(training_facts(model), tuple(colour)) == pytest.approx(expected, rel=1e-6)
    assert distance(training_facts(model), None) is None
    assert distance(training_facts(small), tuple(colour)) is None


@pytest.mark.parametrize(
    ("asked", "ratio"),
    [("20cm", 10), ("native", 5), ("auto", 5), ("30cm", 15)],
)  # fmt: skip
def test_a_resolution_that_is_asked_for_is_judged(
    tmp_path: Path, small: SegmentationModel, pixels: np.ndarray, asked: str, ratio: float
) -> None:
    """A raster of 10 cm and a model of 2 cm: what the network sees is 10 cm, or coarser if it is told so."""
    report = segment(
        write_raster(tmp_path / "a.tif", pixels), knowing(small, pixels, gsd=0.02), tmp_path / "o", gsd=asked
    )
    assert report.verdict.gsd_ratio == pytest.approx(ratio, rel=0.01)
    assert report.verdict.colour == "red"


@pytest.mark.parametrize(("side", "ratio"), [(0.001, 1), (0.004, 1), (0.01, 1), (0.025, 2.5), (0.1, 10), (0.0005, 2)])
def test_a_range_of_resolutions(
    tmp_path: Path, small: SegmentationModel, pixels: np.ndarray, side: float, ratio: float
) -> None:
    model = knowing(small, pixels)
    model = replace(model, about={**model.about, "gsd_range": [0.001, 0.01]})
    place = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(5e5, 5e6, side, side)}
    report = segment(write_raster(tmp_path / "a.tif", pixels, nodata=0, **place), model, tmp_path / "out")
    assert report.verdict.gsd_ratio == pytest.approx(ratio, rel=1e-3)
    assert report.verdict.colour == ("green" if ratio == 1 else "amber" if ratio <= 2 else "red"), report.verdict
    assert not any("resolution" in text for text in report.warnings)
    unknown = write_raster(tmp_path / "b.tif", pixels, nodata=0, crs=None, transform=None)
    assert segment(unknown, model, tmp_path / "out").verdict.colour == "amber"


def test_finer_than_the_model_is_judged_too(tmp_path: Path, small: SegmentationModel, pixels: np.ndarray) -> None:
    model = knowing(small, pixels, gsd=0.4)
    verdict = segment(write_raster(tmp_path / "a.tif", pixels), model, tmp_path / "o", gsd="20cm").verdict
    assert verdict.gsd_ratio == pytest.approx(2, rel=0.01)
    assert verdict.colour == "amber"


def test_a_check_that_could_not_be_made_is_amber(tmp_path: Path, small: SegmentationModel, pixels: np.ndarray) -> None:
    image = write_raster(tmp_path / "a.tif", pixels)
    model = knowing(small, pixels)
    untold = replace(model, about={"evaluation": {}})
    verdict = segment(image, untold, tmp_path / "untold").verdict
    assert (verdict.colour, verdict.distance) == ("amber", None)
    assert [cause.what for cause in verdict.causes] == ["colours_unknown"]
    assert verdict.unchecked == ("the ground resolution, which the model does not know",)
    assert any("no scores" in text for text in segment(image, model, tmp_path / "told").verdict.unchecked)


def verdict_of(image: Path, model: SegmentationModel, out: Path) -> Verdict | None:
    """Of a run; None of numbers that do not fit."""
    try:
        return segment(image, model, out, tile=256).verdict
    except DataError:
        return None


@pytest.mark.parametrize("seed", range(4))
def test_numbers_of_another_scale_are_never_green(
    tmp_path: Path, oracle: SegmentationModel, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Wherever the field lies, and however small it is: refused, or not green."""
    for name, value in {"_ALL_PIXELS": 1000, "_PATCH": 4, "ENOUGH": 128}.items():
        monkeypatch.setattr(pixel_sample, name, value)
    rng = np.random.default_rng(seed)
    side, width = 500, int(rng.choice([3, 20, 60]))
    top, left = rng.integers(0, side - width, 2)
    rows = slice(None) if seed % 2 else slice(top, top + width)
    image = np.full((3, side, side), np.nan, np.float32)
    image[:, rows, left : left + width] = rng.random(
        image[:, rows, left : left + width].shape
    )  # the model wants 0 to 255
    model = replace(oracle, scale=1 / 255, mean=(0.4,) * 3, std=(0.2,) * 3, about={"correlation": np.eye(3).tolist()})
    for name, pixels in (("wrong", image), ("right", image * 200)):
        path = write_raster(tmp_path / f"{name}.tif", pixels, photometric="RGB")
        verdict = verdict_of(path, model, tmp_path / "out")
        if verdict is None:
            assert name == "wrong"
            continue
        assert name == "right" or verdict.colour != "green", (seed, verdict)
        told = [cause.what for cause in verdict.causes]
        seen = pixel_sample.take_sample(prepare(path, model, RunOptions()).model_input.source)
        assert ("sample_small" in told) == (not seen.enough)


@pytest.mark.parametrize("told", [[[1, 2]], "many", [[0.0] * 3] * 3 + [[1.0] * 3]])
def test_a_card_that_tells_nonsense(small: SegmentationModel, told: Any) -> None:
    with pytest.raises(ModelError, match="correlation must be 3 x 3 numbers"):
        distance(training_facts(replace(small, about={"correlation": told})), (1.0, 2.0, 3.0))


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 1)), min_size=1, max_size=5).filter(
        lambda classes: any(pixels for pixels, _ in classes)
    )
)
def test_doubts_about_one_class_count_however_small_it_is(classes: list[tuple[int, float]]) -> None:
    """Against the definition; a class of one pixel in a thousand or fewer says nothing."""
    pixels = tuple(each for each, _ in classes)
    doubtful = tuple(round(each * share) for each, share in classes)
    known = replace(CLEAN, predicted=sum(pixels), pixels=sum(pixels), class_pixels=pixels, doubtful=doubtful)
    worst = max(some / each for some, each in zip(doubtful, pixels, strict=True) if each > sum(pixels) / 1000)
    verdict = assess(known, VerdictLimits().all)
    assert verdict.doubtful_class == worst
    assert verdict.doubtful == sum(doubtful) / sum(pixels)
    assert (verdict.colour == "green") == (worst <= 0.15 and verdict.doubtful <= 0.1)


def test_a_model_has_its_own_limits_and_the_user_the_last_word(
    tmp_path: Path, small: SegmentationModel, pixels: np.ndarray
) -> None:
    model = knowing(small, pixels)
    image = write_raster(tmp_path / "a.tif", changed(pixels, "swapped"))
    assert segment(image, model, tmp_path / "out").verdict.colour == "red"
    tolerant = replace(model, about={**model.about, "limits": ["distance=1000:2000"]})
    assert segment(image, tolerant, tmp_path / "own").verdict.colour == "green"
    assert segment(image, tolerant, tmp_path / "mine", limits=["distance=1:1000"]).verdict.colour == "amber"
    for wrong in ("distance=1:2", ["distance"], [3], {"distance": 3}):
        with pytest.raises(ModelError, match="its card's limits"):
            segment(image, replace(model, about={"limits": wrong}), tmp_path / "no")


def test_limits_as_people_write_them() -> None:
    assert VerdictLimits.of(["distance=1:3", "doubtful=5%:20%"]) == VerdictLimits(
        {"distance": (1, 3), "doubtful": (0.05, 0.2)}
    )
    for text in ("distance", "distance=3", "colour=1:2", "distance=a:b"):
        with pytest.raises(UsageError):
            VerdictLimits.of([text])
    with pytest.raises(UsageError, match="each name once"):
        VerdictLimits.of(["distance=1:3", "distance=2:3"])


@pytest.mark.parametrize(
    "text",
    [
        "doubtful=10:30", "nodata=50:90", "failed=1:5", "doubtful=30%:10%", "distance=6:3", "nodata=90%:100%",
        "gsd_ratio=0.5:2", "gsd_ratio=3:2", "doubtful=200%:300%", "distance=inf:inf", "distance=nan:5", "distance=-1:5",
    ],
)  # fmt: skip
def test_limits_that_cannot_be_exceeded_are_refused(text: str) -> None:
    name, _, numbers = text.partition("=")
    with pytest.raises(UsageError):
        VerdictLimits.of([text])
    if "%" not in text:
        with pytest.raises(UsageError, match="limit"):
            VerdictLimits({name: tuple(float(number) for number in numbers.split(":"))})


def test_a_share_of_which_all_is_allowed_is_not_judged() -> None:
    assert VerdictLimits.of(["doubtful=100%:101%"]).all["doubtful"] == NOT_JUDGED
    assert VerdictLimits.of(["nodata=100%:100%"]).all["nodata"] == NOT_JUDGED
    for text in ("doubtful=100%:50%", "distance=1:inf", "doubtful=101%:102%", "doubtful=1:1"):
        with pytest.raises(UsageError):
            VerdictLimits.of([text])


def test_verdicts_over_real_rasters(tmp_path: Path) -> None:
    model = load_model(bundled_model("potato-weed"))

    def run(image: Path, **flags: Any) -> RunReport:
        return segment(image, model, tmp_path / "out", overwrite=True, **flags)

    assert run(FIELD).verdict.colour == "green"
    swapped = run(FIELD, bands="red=3,green=2,blue=1").verdict
    assert swapped.colour == "red"
    assert "bands in another order" in swapped.reasons[0]
    for name in ("rgb_17_7_W.tif", "orthomosaic.tif"):
        assert run(DATA / "drone_rgba" / name).verdict.colour != "green"


def test_the_verdict_is_the_same_after_a_stop(tmp_path: Path, small: SegmentationModel, pixels: np.ndarray) -> None:
    image, model = write_raster(tmp_path / "a.tif", pixels), replace(small, temperature=0.003)
    flags: dict[str, Any] = {"tile": 64, "overlap": 32, "margin": 8}
    straight = segment(image, model, tmp_path / "straight", **flags)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(image, model, tmp_path / "out", progress=stop, **flags)
    again = segment(image, model, tmp_path / "out", **flags)
    assert again.verdict == straight.verdict
    assert 0 < again.verdict.doubtful < 1
    assert json.dumps(asdict(again.verdict))


NEW = """    bright: float | None = _criterion(
        (0.5, 0.9), _SHARE, lambda known: max(known.sample_mean or (0.0,)) / 255,
        "the image is bright: {value:.1%} of white (limits {amber:.1%}, {red:.1%})",
    )
"""
SENTENCE = "the image is bright: {value:.1%} of white (limits {amber:.1%}, {red:.1%})"


@pytest.mark.parametrize(("lang", "says"), [("en", "The image is bright: "), ("zh", "影像很亮 ")])
def test_a_new_criterion_is_one_field_and_its_chinese(tmp_path: Path, lang: str, says: str) -> None:
    """In a copy of the package; the flag, the help, the record, what is printed, and the report follow from it."""
    shutil.copytree(Path(agriseg.__file__).parent, tmp_path / "agriseg", ignore=shutil.ignore_patterns("__pycache__"))
    table, words = tmp_path / "agriseg" / "verdict.py", tmp_path / "agriseg" / "data" / "words.zh.json"
    before, mark, after = table.read_text().partition("\n\nCRITERIA")
    table.write_text(f"{before.rstrip()}\n{NEW}\n{mark}{after}")
    words.write_text(json.dumps(json.loads(words.read_text()) | {SENTENCE: "影像很亮 {value:.1%}"}))

    def call(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "agriseg", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "bright=50%:90%" in " ".join(call("run", "--help").split())
    (tmp_path / "agriseg.toml").write_text('[run]\nlimits = ["bright=1%:2%"]\n')
    write_raster(tmp_path / "a.tif", blocks(40, 50, low=40))
    printed = call("run", "a.tif", "-o", "out", "-q", "--lang", lang)
    verdict = json.loads((tmp_path / "out" / "a_run.json").read_text())["verdict"]
    assert verdict["bright"] > 0.1
    cause = {"what": "bright", "value": verdict["bright"], "amber": 0.01, "red": 0.02}
    assert {**cause, "miou": None, "own_miou": None} in verdict["causes"]
    assert "verdict: red" in printed
    assert any("the image is bright: " in reason and reason in printed for reason in verdict["reasons"])
    assert says in (tmp_path / "out" / "a_report.html").read_text()
