"""Any bands, any numbers, labels on another grid: from training to the map."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
import torch
from conftest import UTM, layer_bytes, read, write_raster
from rasterio.warp import transform as to_crs
from rasterio.warp import transform_geom

from agriseg import evaluate, load_model, segment
from agriseg.errors import DataError, ModelError
from agriseg.grid import Window
from agriseg.jobs.gather import gather
from agriseg.jobs.labels import align
from agriseg.jobs.train import train
from agriseg.training.config import TrainConfig
from agriseg.training.labels import Labels

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
        "recipe": {"steps": 60, "chip": 48, "batch": 4, "validate_every": 30, "rate": 1e-2, "precision": "fp32"},
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
        trained = train(five(folder, list(numbers)), folder / "run", device="cpu")
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
        gather(chosen, tmp_path / "run")
    with rasterio.open(image, "r+") as dataset:
        dataset.descriptions = ("Blue", "Green", "Red", "Red Edge", "NIR")
    gathered = gather(chosen, tmp_path / "run")
    assert gathered.training[0].source.bands == (1, 2, 3, 4, 5)
    lacking = chosen.model_copy(update={"bands": [*ROLES, "thermal"]})
    with pytest.raises(DataError, match="thermal; the file has 5 bands"):
        gather(lacking, tmp_path / "run")


def test_uint8_uint16_and_float32_are_one_recipe(tmp_path: Path) -> None:
    """The network sees the same field however its numbers are stored."""
    pixels = np.maximum(reflectance(), 0)
    seen = {}
    for name, stored in {
        "float32": pixels,
        "uint16": np.round(pixels * 10_000).astype(np.uint16),
        "uint8": np.round(pixels * 255).astype(np.uint8),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        write_raster(folder / "field.tif", stored)
        polygons_in_degrees(folder / "plants.geojson")
        found = gather(five(folder, [1, 2, 3, 4, 5]), folder / "run")
        chip = found.training[0].all()
        seen[name] = found.model.normalization(torch.from_numpy(chip.pixels), torch.from_numpy(chip.valid))
        assert seen[name].dtype == torch.float32
    for name, step in (("uint16", 1e-4), ("uint8", 1 / 255)):
        spread = pixels.reshape(5, -1).std(1).min()
        assert (seen[name] - seen["float32"]).abs().max() < 2 * step / spread


def test_a_band_that_never_changes_is_named(tmp_path: Path) -> None:
    pixels = reflectance()
    pixels[3, pixels[3] != NOWHERE] = 0.3
    write_raster(tmp_path / "field.tif", pixels, nodata=NOWHERE)
    polygons_in_degrees(tmp_path / "plants.geojson")
    with pytest.raises(DataError, match=r"band red_edge is 0\.3 everywhere in the images to train on; leave it out"):
        gather(five(tmp_path, [1, 2, 3, 4, 5]), tmp_path / "run")


def test_more_classes_than_a_mask_holds(tmp_path: Path) -> None:
    write_raster(tmp_path / "field.tif", reflectance(), nodata=NOWHERE)
    polygons_in_degrees(tmp_path / "plants.geojson")
    with pytest.raises(ModelError, match="a legend of 256 classes; a uint8 mask holds 1 to 255"):
        gather(five(tmp_path, [1, 2, 3, 4, 5], classes=[f"c{k}" for k in range(256)]), tmp_path / "run")


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
    align(image, labels, tmp_path / "aligned.tif")
    values = [0, 1, 2] if kind == "numbers" else [tuple(map(int, colour)) for colour in colours]
    got = Labels.of(tmp_path / "aligned.tif", values).read(Window(0, 0, SIDE, SIDE))
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
        train(chosen, tmp_path / "run", device="cpu")
    data = {"images": "field.tif", "labels": "l.tif", "reproject_labels": True}
    recipe = {"steps": 2, "chip": 48, "batch": 2, "validate_every": 1}
    again = five(tmp_path, [1, 2, 3, 4, 5], data=data, recipe=recipe)
    trained = train(again, tmp_path / "run", device="cpu")
    train(again, tmp_path / "run", device="cpu")  # laying them out anew is no other data
    scores = evaluate(
        load_model(trained.model), image, labels, reproject_labels=True, bands=(1, 2, 3, 4, 5), device="cpu"
    )
    valid = reflectance()[0] != NOWHERE
    assert 0.3 * valid.sum() < scores.matrix.sum() < valid.sum()
