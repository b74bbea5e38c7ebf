"""Any bands, any numbers, labels on another grid: from training to the map."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
import torch
from conftest import DATA, UTM, layer_bytes, read, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.warp import transform as to_crs
from rasterio.warp import transform_geom

from agriseg import SegmentationModel, evaluate, load_model, segment
from agriseg.errors import DataError, ModelError, UsageError
from agriseg.evaluation.evaluate import count_model
from agriseg.grid import Window
from agriseg.labels.raster import LabelRaster
from agriseg.labels.rasterize import reproject_labels
from agriseg.mapping.compatibility import check_compatibility
from agriseg.mapping.record import training_facts
from agriseg.options.labels import LabelOptions
from agriseg.options.run import RunOptions
from agriseg.options.verdict import VerdictLimits
from agriseg.raster.band_roles import find_bands, misnamed, role_name
from agriseg.raster.header import RasterInfo
from agriseg.training.config import TrainConfig
from agriseg.training.dataset import load_dataset
from agriseg.training.run import TrainOptions, train
from agriseg.training_facts import distance

ROLES = ["blue", "green", "red", "red_edge", "nir"]
SIDE = 192
NOWHERE = -10_000.0


def plants() -> np.ndarray:
    """(SIDE, SIDE) bool: squares of 24 px."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 2, (SIDE // 24, SIDE // 24)).repeat(24, 0).repeat(24, 1).astype(bool)


def reflectance() -> np.ndarray:
    """(5, SIDE, SIDE) float32 in 0 to 0.6: plants absorb red and reflect near infrared; no data outside a disc."""
    soil, plant = np.array([0.06, 0.09, 0.13, 0.17, 0.22]), np.array([0.03, 0.07, 0.04, 0.25, 0.48])
    pixels = np.where(plants()[None], plant[:, None, None], soil[:, None, None])
    pixels = pixels * np.random.default_rng(4).uniform(0.7, 1.3, (5, SIDE, SIDE))
    rows, cols = np.indices((SIDE, SIDE)) - SIDE / 2
    pixels[:, np.hypot(rows, cols) > SIDE / 2] = NOWHERE
    return pixels.astype(np.float32)


def polygons_in_degrees(path: Path) -> Path:
    """The squares of `plants`, and the rest as soil, as GeoJSON in EPSG:4326."""
    shapes = rasterio.features.shapes(plants().astype(np.uint8), transform=UTM["transform"])
    features = [
        {
            "type": "Feature",
            "geometry": transform_geom(UTM["crs"], "EPSG:4326", shape),
            "properties": {"class": ["soil", "plant"][int(k)]},
        }
        for shape, k in shapes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def five(folder: Path, numbers: list[int], **more: Any) -> TrainConfig:
    tables = {
        "classes": ["soil", "plant"], "arch": "fcn_small", "bands": ROLES, "band_numbers": numbers,
        "data": {"images": "field.tif", "labels": "plants.geojson", "column": "class"},
        "validation": {"block": 48, "buffer": 0},
        "recipe": {"steps": 60, "chip": 48, "batch": 4, "validate_every": 30, "lr": 1e-2, "precision": "fp32"},
        **more,
    }  # fmt: skip
    return TrainConfig.of(tables, folder)


def test_five_bands_by_role_whatever_their_order(tmp_path: Path) -> None:
    """float32 with nodata, labels in another CRS; permuting bands and mapping together changes no byte."""
    pixels, made = reflectance(), {}
    for name, order in (("straight", [0, 1, 2, 3, 4]), ("permuted", [4, 2, 0, 3, 1])):
        folder = tmp_path / name
        folder.mkdir()
        image = write_raster(folder / "field.tif", pixels[order], nodata=NOWHERE)
        polygons_in_degrees(folder / "plants.geojson")
        numbers = tuple(order.index(k) + 1 for k in range(5))
        trained = train(five(folder, list(numbers)), folder / "run", TrainOptions("cpu"))
        segment(image, trained.model, folder / "map", device="cpu", bands=numbers, tile=64, overlap=32)
        made[name] = layer_bytes(folder / "map") | {"model": trained.model.read_bytes()}
        classes = read(folder / "map" / "field_classes.tif")[0]
        np.testing.assert_array_equal(classes == 255, pixels[0] == NOWHERE)
        inside = classes != 255
        assert np.mean(classes[inside] == plants()[inside]) > 0.95
    assert made["straight"] == made["permuted"]
    # and the mapping matters
    wrong = segment(tmp_path / "permuted" / "field.tif", tmp_path / "straight" / "run" / "best.safetensors",
                    tmp_path / "wrong", device="cpu", bands=(1, 2, 3, 4, 5))  # fmt: skip
    assert np.mean(read(wrong.classes) != read(tmp_path / "straight" / "map" / "field_classes.tif")) > 0.05


def test_named_bands_need_no_numbers(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "field.tif", reflectance(), nodata=NOWHERE)
    polygons_in_degrees(tmp_path / "plants.geojson")
    chosen = five(tmp_path, [1, 2, 3, 4, 5]).model_copy(update={"band_numbers": None})
    with pytest.raises(DataError, match="wants bands blue, green, red, red_edge, nir; the file has 5 bands"):
        load_dataset(chosen, tmp_path / "run")
    with rasterio.open(image, "r+") as dataset:
        dataset.descriptions = ("Blue", "Green", "Red", "Red Edge", "NIR")
    gathered = load_dataset(chosen, tmp_path / "run")
    assert gathered.training[0].source.bands == (1, 2, 3, 4, 5)
    lacking = chosen.model_copy(update={"bands": [*ROLES, "thermal"]})
    with pytest.raises(DataError, match="thermal; the file has 5 bands"):
        load_dataset(lacking, tmp_path / "run")


def test_uint8_uint16_and_float32_are_one_recipe(tmp_path: Path) -> None:
    """The network sees the same field however its numbers are stored, and its maps are scored and made alike."""
    pixels = np.maximum(reflectance(), 0)
    seen, scored, mapped = {}, {}, {}
    for name, stored in {
        "float32": pixels,
        "uint16": np.round(pixels * 10_000).astype(np.uint16),
        "uint8": np.round(pixels * 255).astype(np.uint8),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        write_raster(folder / "field.tif", stored)
        polygons_in_degrees(folder / "plants.geojson")
        found = load_dataset(five(folder, [1, 2, 3, 4, 5]), folder / "run")
        chip = found.training[0].all()
        seen[name] = found.model.normalization(torch.from_numpy(chip.pixels), torch.from_numpy(chip.valid))
        assert seen[name].dtype == torch.float32
        held, options = found.held[0], RunOptions(bands=(1, 2, 3, 4, 5))
        path = held.source.info.path
        torch.manual_seed(0)
        pointwise = torch.nn.Conv2d(5, len(found.model.legend), 1)
        model = replace(found.model, network=pointwise, stride=1, align=1, halo=0, architecture=None)
        scored[name] = count_model(model, path, held.labels, folder / "held", options)
        report = segment(path, model, folder / "map", bands=(1, 2, 3, 4, 5))
        mapped[name] = read(report.confidence)[0].astype(int)
    assert np.ptp(mapped["float32"]) > 5, "the network tells one place from another"
    for name, limit in (("uint16", 0.5), ("uint8", 5)):  # of 250; 8 bits are coarse
        assert np.abs(mapped[name] - mapped["float32"]).mean() < limit
        several = scored["float32"].blocks.sum()
        assert np.abs(scored[name].blocks - scored["float32"].blocks).sum() < 0.1 * several
    for name, step in (("uint16", 1e-4), ("uint8", 1 / 255)):
        spread = pixels.reshape(5, -1).std(1).min()
        assert (seen[name] - seen["float32"]).abs().max() < 2 * step / spread


def test_a_band_that_never_changes_is_named(tmp_path: Path) -> None:
    pixels = reflectance()
    pixels[3, pixels[3] != NOWHERE] = 0.3
    write_raster(tmp_path / "field.tif", pixels, nodata=NOWHERE)
    polygons_in_degrees(tmp_path / "plants.geojson")
    with pytest.raises(DataError, match=r"band red_edge is 0\.3 everywhere in the images to train on; leave it out"):
        load_dataset(five(tmp_path, [1, 2, 3, 4, 5]), tmp_path / "run")


def test_more_classes_than_a_mask_holds(tmp_path: Path) -> None:
    write_raster(tmp_path / "field.tif", reflectance(), nodata=NOWHERE)
    polygons_in_degrees(tmp_path / "plants.geojson")
    with pytest.raises(ModelError, match="a legend of 256 classes; a uint8 mask holds 1 to 255"):
        load_dataset(five(tmp_path, [1, 2, 3, 4, 5], classes=[f"c{k}" for k in range(256)]), tmp_path / "run")


# label rasters on another grid


def labels_in_mercator(path: Path, bands: np.ndarray) -> Path:
    """A raster in Web Mercator over about the middle of the field."""
    left, bottom, right, top = rasterio.warp.transform_bounds(
        UTM["crs"], "EPSG:3857", 500_002.03, 5_399_984.1, 500_018.07, 5_399_998.2
    )
    where = rasterio.transform.from_bounds(left, bottom, right, top, bands.shape[2], bands.shape[1])
    return write_raster(path, bands, crs="EPSG:3857", transform=where)


@pytest.mark.fault("G09")
@pytest.mark.parametrize("kind", ["numbers", "colours"])
def test_aligned_labels_are_the_nearest_ones(tmp_path: Path, kind: str) -> None:
    image = write_raster(tmp_path / "field.tif", reflectance(), nodata=NOWHERE)
    ids = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)
    colours = np.array([[0, 0, 0], [0, 176, 0], [255, 0, 0]], np.uint8)
    bands = ids[None] if kind == "numbers" else colours[ids].transpose(2, 0, 1)
    labels = labels_in_mercator(tmp_path / "l.tif", bands)
    reproject_labels(image, labels, tmp_path / "aligned.tif")
    values = [0, 1, 2] if kind == "numbers" else [tuple(map(int, colour)) for colour in colours]
    got = LabelRaster.of(tmp_path / "aligned.tif", values).read(Window(0, 0, SIDE, SIDE))
    # by rasterio's point transform alone
    rows, cols = np.indices((SIDE, SIDE))
    x, y = UTM["transform"] @ (cols.ravel() + 0.5, rows.ravel() + 0.5)
    x, y = to_crs(UTM["crs"], "EPSG:3857", x, y)
    with rasterio.open(labels) as there:
        across, down = ~there.transform @ (np.array(x), np.array(y))
    col, row = np.floor(across).astype(int), np.floor(down).astype(int)
    inside = (row >= 0) & (row < 40) & (col >= 0) & (col < 50)
    expected = np.full(SIDE * SIDE, 255)
    expected[inside] = ids[row[inside], col[inside]]
    clear = (np.abs(across - across.round()) > 1e-3) & (np.abs(down - down.round()) > 1e-3)  # of an edge
    assert clear.mean() > 0.95
    assert (expected == 255).any()
    np.testing.assert_array_equal(got.ravel()[clear], expected[clear])


@pytest.mark.fault("G09", "T09")
def test_training_and_scoring_with_labels_of_another_grid(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "field.tif", reflectance(), nodata=NOWHERE)
    ids = np.random.default_rng(0).integers(0, 2, (10, 12)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    labels = labels_in_mercator(tmp_path / "l.tif", ids[None])
    chosen = five(tmp_path, [1, 2, 3, 4, 5], data={"images": "field.tif", "labels": "l.tif"})
    with pytest.raises(DataError, match="--reproject-labels lays them there"):
        train(chosen, tmp_path / "run", TrainOptions("cpu"))
    data = {"images": "field.tif", "labels": "l.tif", "reproject_labels": True}
    recipe = {"steps": 2, "chip": 48, "batch": 2, "validate_every": 1}
    again = five(tmp_path, [1, 2, 3, 4, 5], data=data, recipe=recipe)
    trained = train(again, tmp_path / "run", TrainOptions("cpu"))
    train(again, tmp_path / "run", TrainOptions("cpu"))  # laying them out anew is no other data
    scores = evaluate(
        load_model(trained.model),
        image,
        labels,
        LabelOptions(reproject_labels=True),
        RunOptions(bands=(1, 2, 3, 4, 5), device="cpu"),
    )
    valid = reflectance()[0] != NOWHERE
    assert 0.3 * valid.sum() < scores.matrix.sum() < valid.sum()


# which band is which


def header(described: Sequence[str | None], colours: Sequence[str] | None = None) -> RasterInfo:
    """Of a file whose bands are called so."""
    named = tuple(ColorInterp[name] for name in colours or ["undefined"] * len(described))
    info = RasterInfo.read(next(DATA.rglob("*.tif")))
    return replace(
        info, count=len(described), descriptions=tuple(described), colours=named, nodata=(None,) * len(described),
        scales=(1.0,) * len(described), offsets=(0.0,) * len(described),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "role"),
    [
        *((text, "nir") for text in ("NIR", "Near Infrared", "near-infrared", "Near_IR", "Band_4_NIR", "NIR-840", "B8 nir",
                                     "NIR (842 nm)", "nir reflectance")),
        *((text, "red_edge") for text in ("Rededge", "Red edge", "RE", "red_edge", "Red edge-717", "RedEdge 735nm")),
        ("Red", "red"), ("R", "red"), ("Red-650", "red"), ("Band 1 (Red)", "red"), ("G", "green"), ("Blue-475", "blue"),
        ("B08", "b08"), ("B2", "b2"), ("Band 1", "band_1"), ("b", "blue"), ("Infrared camera", "infrared_camera"),
        ("thermal 1", "thermal_1"), ("Redness", "redness"),
    ],
)  # fmt: skip
def test_names_of_bands(text: str, role: str) -> None:
    assert role_name(text) == role
    if role in ("red", "nir", "red_edge"):
        assert find_bands(header([None, text, None]), [role]) == {role: 2}


def test_gdals_own_names_of_bands() -> None:
    info = header([None] * 5, ["blue", "green", "red", "rededge", "nir"])
    assert find_bands(info, ["red", "nir", "red_edge"]) == {"red": 3, "nir": 5, "red_edge": 4}
    # false colours: what a band is called counts more than how it is shown
    info = header(["NIR", "Red", "Green"], ["red", "green", "blue"])
    assert find_bands(info, ["red", "green", "nir", "blue"]) == {"red": 2, "green": 3, "nir": 1}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    names=st.lists(
        st.sampled_from(["B1", "b2", "B3", "B04", "B8", "red", "NIR", "Band 1", "", None]), min_size=1, max_size=6
    )
)
def test_a_number_is_a_number_whatever_bands_are_called(names: list[str | None]) -> None:
    info = header(names)
    roles = [f"b{number}" for number in range(1, len(names) + 1)]
    assert find_bands(info, roles) == {role: number for number, role in enumerate(roles, 1)}
    for number, name in enumerate(names, 1):
        other = bool(name) and name.lower() in roles and name.lower() != f"b{number}"
        assert other == any(f"describes band {number} so" in text for text in misnamed(info, roles))


def test_two_bands_of_one_name_are_asked_about() -> None:
    info = header(["Red edge-705", "Red edge-740", "nir"])
    assert find_bands(info, ["nir"]) == {"nir": 3}
    with pytest.raises(DataError, match="bands 1 and 2 are both called red_edge; say with --bands"):
        find_bands(info, ["nir", "red_edge"])


def test_a_number_cannot_be_another_band(oracle: Any) -> None:
    info, model = header([None] * 3), replace(oracle, bands=("b1", "b2", "b3"))
    with pytest.raises(UsageError, match=r"b1 is band 1 always; give the numbers alone.*--bands 3,2,1"):
        check_compatibility(info, model, RunOptions.of(bands="b1=3,b2=2,b3=1"))
    assert check_compatibility(info, model, RunOptions.of(bands="3,2,1")).source.bands == (3, 2, 1)


# what numbers a model is made for


def reading(folder: Path, stored: np.ndarray, model: SegmentationModel) -> float | None:
    """Deviations between a raster's mean and the model's; None if its numbers are refused."""
    path = write_raster(folder / "field.tif", stored, photometric="MINISBLACK")
    try:
        model_input = check_compatibility(
            RasterInfo.read(path), model, RunOptions(bands=tuple(range(1, len(stored) + 1)))
        )
    except DataError as error:
        top = float(str(error).split("numbers up to ")[1].split(" ")[0])
        np.testing.assert_allclose(top, stored.max(), rtol=1e-5)  # a number that the raster holds
        return None
    return distance(training_facts(model), model_input.sample.mean)


@pytest.mark.parametrize("seed", range(6))
def test_a_model_reads_numbers_of_its_own_unit_and_no_others(tmp_path: Path, oracle: Any, seed: int) -> None:
    """Reflectances as shares, x 255, 10,000, of 12 bits, of 16; those of each are taken or refused by what they are."""
    rng = np.random.default_rng(seed)
    means, spread = rng.uniform(0.03, 0.4, 3), rng.choice([0.01, 0.05, 0.2])
    share = np.clip(rng.normal(1, spread, (3, 64, 64)) * means[:, None, None], 0.002, 1)
    units = {"float32": 1.0, "uint8": 255.0, "uint16": 10_000.0, "int32": 65_535.0, "int16": 4095.0, "float64": 100.0}
    for own, unit in units.items():
        stored = np.round(share * unit, 3 if own.startswith("f") else 0).astype(own)
        stored[:, :2, :2] = stored.max()  # some glint
        for scale in {1.0, 1 / unit}:
            flat = stored.reshape(3, -1) * scale
            model = replace(
                oracle, scale=scale, mean=tuple(flat.mean(1)), std=tuple(flat.std(1) + 1e-6),
                about={"correlation": np.eye(3).tolist()},
            )  # fmt: skip
            found = reading(tmp_path, stored, model)
            assert found is not None, (own, scale)
            assert found < 0.1
            for other, factor in units.items():
                if max(factor / unit, unit / factor) < 10:
                    continue
                wrong = np.round(share * factor, 5 if other.startswith("f") else 0).astype(other)
                far = reading(tmp_path, wrong, model)
                assert far is None or far > VerdictLimits().all["distance"][0], (own, scale, other, far)


def test_saturated_pixels_and_full_range_do_not_matter(tmp_path: Path, oracle: Any) -> None:
    """One cloud of 65535 over an even field of 16 bits is no other unit."""
    stored = np.random.default_rng(0).normal(400, 20, (3, 128, 128)).astype(np.uint16)
    flat = stored.reshape(3, -1).astype(float)
    model = replace(oracle, mean=tuple(flat.mean(1)), std=tuple(flat.std(1)), about={"correlation": np.eye(3).tolist()})
    stored[:, 0, :3] = 65535
    assert reading(tmp_path, stored, model) is not None


# a margin that nothing declares, in training


def with_margin(folder: Path, value: float = 0) -> tuple[np.ndarray, dict[str, Any]]:
    """Pixels of a field in grey levels that has a margin of `value`, and the tables of a configuration."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (8, 8)).repeat(24, 0).repeat(24, 1).astype(np.uint8)
    pixels = np.clip(100 + 60 * labels + rng.normal(0, 20, (3, *labels.shape)), 1, 254).astype(np.uint8)
    inside = np.zeros(labels.shape, bool)
    inside[10:-10, 70:-10] = True
    write_raster(folder / "field.tif", np.where(inside, pixels, value).astype(np.uint8), photometric="RGB")
    write_raster(folder / "labels.tif", np.where(inside, labels, 255)[None].astype(np.uint8))
    tables = {
        "classes": ["soil", "crop"], "arch": "fcn_small", "data": {"images": "field.tif", "labels": "labels.tif"},
        "validation": {"block": 48, "buffer": 0}, "recipe": {"steps": 2, "chip": 32, "batch": 2, "validate_every": 2},
    }  # fmt: skip
    return pixels[:, inside], tables


@pytest.mark.parametrize("value", [0, 255])
def test_training_says_what_looks_like_no_data_and_leaves_it_out_when_told(tmp_path: Path, value: int) -> None:
    field, tables = with_margin(tmp_path, value)
    blind = load_dataset(TrainConfig.of(tables, tmp_path), tmp_path / "blind")
    assert any(f"field.tif: the border is {value} in all bands" in text for text in blind.remarks)
    assert any(f"--nodata {value} (in a configuration, under [data])" in text for text in blind.remarks)
    tables["data"]["nodata"] = value
    model = load_model(train(TrainConfig.of(tables, tmp_path), tmp_path / "told").model)
    np.testing.assert_allclose(model.mean, field.mean(1) / 255, atol=0.03)
    assert abs(np.array(blind.model.mean) - field.mean(1) / 255).min() > 0.05
    assert model.about["data"]["nodata"] == value
    info = RasterInfo.read(tmp_path / "field.tif")
    assert any(f"add --nodata {value}" in text for text in check_compatibility(info, model, RunOptions()).empty[1:])
    alike = check_compatibility(info, model, RunOptions(nodata=value))
    assert not alike.empty
    assert (distance(training_facts(model), alike.sample.mean) or 0) < 0.3


def test_training_is_told_which_band_marks_what_is_valid(tmp_path: Path) -> None:
    field, tables = with_margin(tmp_path)
    pixels = read(tmp_path / "field.tif")
    marked = np.concatenate([pixels, 255 * (pixels != 0).any(0, keepdims=True)]).astype(np.uint8)
    write_raster(tmp_path / "field.tif", marked, photometric="RGB", alpha="NO")
    blind = load_dataset(TrainConfig.of(tables, tmp_path), tmp_path / "blind")
    assert any("--alpha 4 to a training" in text for text in blind.remarks)
    tables["data"]["alpha"] = 4
    told = load_dataset(TrainConfig.of(tables, tmp_path), tmp_path / "told")
    assert not any("alpha" in text or "border" in text for text in told.remarks)
    np.testing.assert_allclose(told.model.mean, field.mean(1) / 255, atol=0.03)


def test_statistics_are_of_the_field_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn windows meet little of it: the scene is read to its end."""
    monkeypatch.setattr("agriseg.labels.band_statistics._WINDOWS", 2)
    monkeypatch.setattr("agriseg.labels.band_statistics._WINDOW", 4)
    field, tables = with_margin(tmp_path)
    tables["data"]["nodata"] = 0
    found = load_dataset(TrainConfig.of(tables, tmp_path), tmp_path / "run")
    np.testing.assert_allclose(found.model.mean, field.mean(1) / 255, atol=0.03)


@pytest.mark.parametrize(
    "wrong", [{"band_numbers": [1, 1, 2]}, {"band_numbers": [1, 2]}, {"bands": ["red", "red", "blue"]}]
)
def test_one_band_in_two_roles_is_no_configuration(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        TrainConfig.of({**with_margin(tmp_path)[1], **wrong}, tmp_path)
