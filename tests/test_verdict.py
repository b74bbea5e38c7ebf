"""Verdicts: green for what the model knows, amber or red for what it does not, each for its own reason."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DATA, blocks, record_of, write_raster

from agriseg import Report, SegmentationModel, load_model, segment
from agriseg.cli.options import bundled_model
from agriseg.config import Limits
from agriseg.errors import ModelError, UsageError
from agriseg.jobs.verdict import distance

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
    assert report.verdict["colour"] == "green"
    assert report.verdict["reasons"] == []
    assert report.verdict["distance"] < 0.1
    assert record_of(tmp_path / "out")["verdict"] == report.verdict


def changed(pixels: np.ndarray, kind: str) -> np.ndarray:
    holed = pixels.copy()
    holed[:, 3:] = 0
    kinds = {"swapped": pixels[[2, 1, 0]], "dark": pixels // 5, "holed": holed}
    return kinds.get(kind, pixels)


@pytest.mark.parametrize(
    ("kind", "colour", "says"),
    [
        ("swapped", "red", "bands in another order"), ("dark", "red", "other light"), ("holed", "amber", "are no data"),
        ("coarse", "red", "3.00 times as coarse"), ("unknown", "amber", "ground resolution is unknown"),
        ("doubted", "red", "the network doubts"),
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
    assert report.verdict["colour"] == colour, report.verdict
    assert says in report.verdict["reasons"][0]
    assert len(report.verdict["reasons"]) == 1


def test_finer_pixels_count_only_where_they_are_not_averaged(
    tmp_path: Path, small: SegmentationModel, pixels: np.ndarray
) -> None:
    image, model = write_raster(tmp_path / "a.tif", pixels), knowing(small, pixels, gsd=0.3)
    averaged, native = (segment(image, model, tmp_path / gsd, gsd=gsd).verdict for gsd in ("auto", "native"))
    assert averaged["gsd_ratio"] == 1
    assert native["gsd_ratio"] == pytest.approx(3, rel=0.01)


def test_the_distance_is_that_of_mahalanobis(small: SegmentationModel) -> None:
    rng = np.random.default_rng(1)
    sample = rng.normal(size=(3, 5000)) + rng.normal(size=5000)
    model = knowing(small, sample / small.scale)
    z = (sample - sample.mean(1, keepdims=True)) / sample.std(1, keepdims=True)
    covariance = np.cov(z, bias=True) + 0.01 * np.eye(3)
    shift = np.array([0.5, -0.2, 0.1])
    colour = (sample.mean(1) + shift * sample.std(1)) / small.scale
    expected = np.sqrt(shift @ np.linalg.inv(covariance) @ shift)
    assert distance(model, tuple(colour)) == pytest.approx(expected, rel=1e-6)
    assert distance(model, None) is None
    assert distance(small, tuple(colour)) is None


@pytest.mark.parametrize("told", [[[1, 2]], "many", [[0.0] * 3] * 3 + [[1.0] * 3]])
def test_a_card_that_tells_nonsense(small: SegmentationModel, told: Any) -> None:
    with pytest.raises(ModelError, match="correlation must be 3 x 3 numbers"):
        distance(replace(small, about={"correlation": told}), (1.0, 2.0, 3.0))


def test_limits_as_people_write_them() -> None:
    assert Limits.of(["distance=1:3", "doubtful=5%:20%"]) == Limits(distance=(1, 3), doubtful=(0.05, 0.2))
    for text in ("distance", "distance=3", "colour=1:2", "distance=a:b"):
        with pytest.raises(UsageError):
            Limits.of([text])


def test_verdicts_over_real_rasters(tmp_path: Path) -> None:
    model = load_model(bundled_model("potato_weed"))

    def run(image: Path, **flags: Any) -> Report:
        return segment(image, model, tmp_path / "out", overwrite=True, **flags)

    assert run(FIELD).verdict["colour"] == "green"
    swapped = run(FIELD, bands="red=3,green=2,blue=1").verdict
    assert swapped["colour"] == "red"
    assert "bands in another order" in swapped["reasons"][0]
    for name in ("rgb_17_7_W.tif", "orthomosaic.tif"):
        assert run(DATA / "drone_rgba" / name).verdict["colour"] != "green"


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
    assert 0 < again.verdict["doubtful"] < 1
    assert json.dumps(again.verdict)
