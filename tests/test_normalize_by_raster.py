"""A model that normalizes by the raster: the unit and the exposure of the numbers decide nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import blocks, layer_bytes, read, record_of, write_raster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from agriseg import SegmentationModel, segment
from agriseg.errors import DataError, ModelError
from agriseg.labels.band_statistics import colour_statistics, pixel_statistics
from agriseg.labels.raster import LabelRaster
from agriseg.labels.scene import Scene
from agriseg.mapping.record import training_facts
from agriseg.mapping.verify import verify
from agriseg.model import load_model
from agriseg.networks.normalization import relative_to
from agriseg.raster.header import RasterInfo
from agriseg.raster.pixel_sample import take_sample
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import ValidityRule
from agriseg.training.config import TrainConfig
from agriseg.training.dataset import load_dataset
from agriseg.training.run import train
from agriseg.training_facts import distance


@pytest.fixture
def relative(small: SegmentationModel) -> SegmentationModel:
    return replace(small, normalize_by="raster", scale=1.0, mean=(0.4, 0.5, 0.3), std=(0.5, 0.4, 0.3))


def classes(image: Path, model: SegmentationModel | Path, folder: Path, **how: object) -> np.ndarray:
    return read(segment(image, model, folder, overwrite=True, **how).classes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=8)
@given(exponent=st.integers(-20, 20), seed=st.integers(0, 999), kind=st.sampled_from(["float32", "float64", "uint16"]))
def test_a_factor_changes_no_byte(
    tmp_path: Path, relative: SegmentationModel, exponent: int, seed: int, kind: str
) -> None:
    """A power of two changes no digit of a number; other factors change the last one."""
    pixels = blocks(150, 190, seed=seed, low=1)
    image = write_raster(tmp_path / "a.tif", pixels, photometric="RGB")
    other = pixels.astype(np.float64) * 2.0 ** (abs(exponent) % 8 if kind == "uint16" else exponent)
    like = write_raster(tmp_path / "b.tif", other.astype(kind), photometric="RGB")
    one, two = (classes(path, relative, tmp_path / path.stem, tile=64) for path in (image, like))
    assert len(np.unique(one)) > 1
    np.testing.assert_array_equal(one, two)


def test_a_model_of_constants_makes_another_map_of_other_light(tmp_path: Path, small: SegmentationModel) -> None:
    """So the test above can fail."""
    pixels = blocks(150, 190, low=1)
    image = write_raster(tmp_path / "a.tif", pixels, photometric="RGB")
    darker = write_raster(tmp_path / "b.tif", pixels // 2, photometric="RGB")
    one, two = (classes(path, small, tmp_path / path.stem) for path in (image, darker))
    assert (one != two).mean() > 0.05


def test_numbers_of_the_network_from_the_formula(relative: SegmentationModel) -> None:
    rng = np.random.default_rng(0)
    stored, mean = rng.integers(1, 4000, (3, 20, 30)).astype(np.uint16), (900.0, 1500.0, 600.0)
    x = relative.normalization_of(mean)(torch.from_numpy(stored), torch.ones(20, 30, dtype=torch.bool)).numpy()
    light = np.mean(mean)
    for band, (share, centre, spread) in enumerate(zip(mean, relative.mean, relative.std, strict=True)):
        expected = (stored[band] / light - 0.6 * share / light - centre) / spread
        np.testing.assert_allclose(x[band], expected, atol=2e-6)


def test_a_window_is_mapped_as_in_the_whole_raster(tmp_path: Path, relative: SegmentationModel) -> None:
    """The means are those of the raster: those of the window, which is darker, would make another map."""
    pixels = blocks(300, 400, low=1)
    pixels[:, 100:220, 150:330] //= 3
    image = write_raster(tmp_path / "a.tif", pixels, photometric="RGB")
    whole = classes(image, relative, tmp_path / "whole", blend="exact")
    part = classes(image, relative, tmp_path / "part", blend="exact", window="150,100,180,120")
    np.testing.assert_array_equal(part, whole[:, 100:220, 150:330])
    alone = write_raster(tmp_path / "alone.tif", pixels[:, 100:220, 150:330].copy(), photometric="RGB")
    assert (classes(alone, relative, tmp_path / "alone", blend="exact") != part).mean() > 0.05


def test_file_worker_record_and_verify(
    tmp_path: Path, relative: SegmentationModel, agriseg_cli: Callable[..., Any]
) -> None:
    file = tmp_path / "m.safetensors"
    relative.save(file)
    loaded = load_model(file)
    assert (loaded.normalize_by, loaded.fingerprint) == ("raster", relative.fingerprint)
    assert loaded.fingerprint != replace(relative, normalize_by="training").fingerprint
    pixels = blocks(300, 240, low=1)
    image = write_raster(tmp_path / "a.tif", pixels, photometric="RGB")
    segment(image, file, tmp_path / "one", tile=64)
    ended = agriseg_cli("run", image, "-m", file, "-o", "two", "--tile", 64, "--workers", 1)
    assert ended.code == 0, ended.err
    assert layer_bytes(tmp_path / "one") == layer_bytes(tmp_path / "two")
    model = record_of(tmp_path / "one")["model"]
    scale, offsets = relative_to(tuple(pixels.mean((1, 2)).tolist()))
    assert model["fingerprint"] == relative.fingerprint
    assert model["scale"] == pytest.approx(scale)
    assert model["mean"] == pytest.approx(np.add(offsets, relative.mean).tolist())
    assert model["std"] == pytest.approx(relative.std)
    assert not any(finding.wrong for finding in verify(tmp_path / "one", tiles=100))


def test_without_valid_pixels_all_is_nodata(tmp_path: Path, relative: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", np.zeros((3, 70, 80), np.uint8), nodata=0, photometric="RGB")
    assert (classes(image, relative, tmp_path / "maps") == 255).all()


@pytest.mark.parametrize(("low", "high"), [(-30, 10), (0, 1), (-5, 5)])
def test_numbers_that_are_no_light_are_refused(
    tmp_path: Path, relative: SegmentationModel, low: int, high: int
) -> None:
    pixels = np.random.default_rng(0).integers(low, high, (3, 60, 60)).astype(np.float32)
    image = write_raster(tmp_path / "a.tif", pixels, photometric="RGB")
    with pytest.raises(DataError, match="grow with the light"):
        segment(image, relative, tmp_path / "maps")


def test_dark_ground_outside_the_window_counts(tmp_path: Path, relative: SegmentationModel) -> None:
    """The window alone would pass; the raster, by whose means it is normalized, does not."""
    pixels = np.full((3, 80, 80), -9.0, np.float32)
    pixels[:, :20, :20] = 5.0
    image = write_raster(tmp_path / "a.tif", pixels, photometric="RGB")
    with pytest.raises(DataError, match="grow with the light"):
        segment(image, relative, tmp_path / "maps", window="0,0,20,20")


def scene(path: Path, pixels: np.ndarray) -> Scene:
    write_raster(path.with_name("labels.tif"), np.zeros((1, *pixels.shape[1:]), np.uint8), photometric="MINISBLACK")
    info = RasterInfo.read(write_raster(path, pixels, photometric="RGB"))
    source = Source(info, (1, 2, 3), ValidityRule.of(info), info.width, info.height)
    return Scene(source, LabelRaster.of(path.with_name("labels.tif"), range(3)), take_sample(source).mean)


def test_training_sees_one_field_in_any_light(tmp_path: Path, relative: SegmentationModel) -> None:
    pixels = blocks(260, 280, low=1)
    made = [scene(tmp_path / f"{factor}.tif", pixels.astype(np.uint16) * factor) for factor in (1, 2, 64)]
    plain = replace(relative, mean=(0.0,) * 3, std=(1.0,) * 3)
    chips = [
        plain.normalization_of(one.mean)(torch.from_numpy(one.all().pixels), torch.ones(260, 280, dtype=torch.bool))
        for one in made
    ]
    assert torch.equal(chips[0], chips[1])
    assert torch.equal(chips[0], chips[2])
    statistics = pixel_statistics(made, plain)
    values = np.concatenate([chip.numpy().reshape(3, -1) for chip in chips], 1)
    np.testing.assert_allclose(statistics.mean, values.mean(1), atol=0.02)
    np.testing.assert_allclose(statistics.std, values.std(1), atol=0.02)


def test_the_verdict_compares_colours_and_not_light(tmp_path: Path, relative: SegmentationModel) -> None:
    colours = colour_statistics(
        [scene(tmp_path / f"{k}.tif", blocks(520, 540, low=1, seed=k)) for k in (0, 1)], relative
    )
    told = {"colours": {"mean": colours.mean, "std": colours.std, "correlation": colours.correlation}}
    facts = training_facts(replace(relative, about=told))
    near = np.array(colours.mean) * 70
    assert distance(facts, tuple(near)) == pytest.approx(0, abs=1e-6)
    assert distance(facts, tuple(near * 1000)) == pytest.approx(0, abs=1e-6)
    green = near * (1, 1 + 8 * colours.std[1], 1)
    assert (distance(facts, tuple(green)) or 0) > 3
    assert distance(training_facts(relative), tuple(near)) is None, "nothing was compared"


def test_a_training_of_several_fields_and_lights(tmp_path: Path) -> None:
    """8 and 16 bit, bright and dark, without a GSD: one model, whose maps and verdicts do not change with the light."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number, factor in enumerate((1, 3, 200)):
        pixels = blocks(120, 140, seed=number, low=1) // 4
        ids = (pixels.mean(0) > np.median(pixels.mean(0))).astype(np.uint8)
        kind, place = np.uint16 if factor > 3 else np.uint8, {"crs": None, "transform": None, "photometric": "RGB"}
        write_raster(tmp_path / "images" / f"{number}.tif", (pixels.astype(int) * factor).astype(kind), **place)
        write_raster(tmp_path / "labels" / f"{number}.tif", ids[None], photometric="MINISBLACK")
    tables = {
        "classes": ["soil", "plant"], "arch": "fcn_small", "normalize_by": "raster", "gsd_range": [0.001, 0.01],
        "data": {"images": "images", "labels": "labels"}, "validation": {"by": "file", "share": 0.3},
        "recipe": {"steps": 30, "chip": 32, "batch": 4, "validate_every": 30, "sample_by": "image"},
    }  # fmt: skip
    trained = train(TrainConfig.of(tables, tmp_path), tmp_path / "model")
    model = load_model(trained.model)
    assert (model.normalize_by, model.gsd, model.about["gsd_range"]) == ("raster", None, [0.001, 0.01])
    assert set(model.about["colours"]) == {"mean", "std", "correlation"}
    assert trained.evaluation.miou > 0.6
    assert "0.1 cm to 1 cm" in trained.model.with_suffix(".md").read_text()
    place = {"crs": "EPSG:32632", "transform": from_origin(5e5, 5e6, 0.004, 0.004), "photometric": "RGB"}
    field = blocks(150, 170, seed=9, low=1) // 4
    reports = [
        segment(write_raster(tmp_path / f"{name}.tif", numbers, **place), model, tmp_path / "maps")
        for name, numbers in (("dark", field), ("bright", field * 4), ("float", field.astype(np.float32) / 4096))
    ]
    for report in reports:
        np.testing.assert_array_equal(read(report.classes), read(reports[0].classes))
        assert report.verdict == reports[0].verdict
    assert reports[0].verdict.gsd_ratio == 1
    assert reports[0].verdict.distance is not None


def test_images_of_two_kinds_need_it(tmp_path: Path) -> None:
    for name, kind in (("a", np.uint8), ("b", np.uint16)):
        write_raster(tmp_path / f"{name}.tif", blocks(80, 90, low=1).astype(kind), photometric="RGB")
        labels = (blocks(80, 90)[:1] > 100).astype(np.uint8)
        write_raster(tmp_path / f"{name}_labels.tif", labels, photometric="MINISBLACK")
    tables = {
        "classes": ["soil", "plant"], "arch": "fcn_small", "validation": {"by": "file", "share": 0.5},
        "data": {"images": ".", "labels": ".", "label_suffix": "_labels"}, "recipe": {"steps": 2, "chip": 32},
    }  # fmt: skip
    with pytest.raises(DataError, match="uint16 and uint8; one model needs one kind of numbers"):
        load_dataset(TrainConfig.of(tables, tmp_path), tmp_path / "run")
    found = load_dataset(TrainConfig.of({**tables, "normalize_by": "raster"}, tmp_path), tmp_path / "run")
    assert found.model.normalize_by == "raster"
    assert found.colours is None, "one image to train on, smaller than a window, has one colour"


@pytest.mark.parametrize("given", [[0.01, 0.001], [0, 0.01], [-1, 1]])
def test_a_range_that_is_none(given: list[float], tmp_path: Path) -> None:
    tables = {"classes": ["a", "b"], "gsd_range": given, "data": {"images": "a", "labels": "b"}, "recipe": {"steps": 1}}
    with pytest.raises(ModelError, match=r"gsd_range .* expected the finest and the coarsest"):
        TrainConfig.of(tables, tmp_path)
