"""A shelf of tiny files under the names that the documentation uses: what its command lines find when they are run."""

import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import shapely
import torch
from conftest import blocks, write_raster
from rasterio import Affine

from agriseg import Legend, TrainConfig, segment, train
from agriseg.analysis.build import make_layers
from agriseg.demo.reference_models import random_network
from agriseg.options.layers import LayerOptions

HEIGHT, WIDTH, PIXEL = 128, 256, 0.3
PATCH = 7  # side in pixels of a patch of `blocks`
FINER = 4
"""How many times as many pixels a side the rasters have that are trained on without a configuration."""
CLASSES = ("soil", "crop", "weed", "rust_low", "rust_high")

TRAINING = """
classes = ["soil", "crop", "weed"]
arch = "fcn_small"
data = { images = "field.tif", labels = "labels.tif" }
validation = { block = 64, buffer = 8 }
recipe = { steps = 2, chip = 32, batch = 2, validate_every = 1 }
"""
JOBS = """
[[job]]
title = "rgb"
images = "flights"
model = "weeds.safetensors"
"""


class Shelf:
    """Files that are made when they are first asked for.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> Path:
        """The file or folder of a name."""
        path = self._folder / name.replace("/", "--")
        if not path.exists():
            _MAKERS[name](self, path)
        return path

    def lay(self, text: str, folder: Path) -> None:
        """Copy what a text names into a folder, but for its outputs.

        A training that has no configuration holds back blocks of its own size, so it gets rasters that have some.
        """
        finer = {"field.tif": "finer.tif", "labels.tif": "finer_labels.tif"} if "train --image" in text else {}
        named = text if "--resume" in text else re.sub(r"(-o|--out) \S+", "", text)
        for name in _named(re.findall(r"[\w./-]+", named)):
            source, target = self.get(finer.get(name, name)), folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)


def _named(words: list[str]) -> Iterator[str]:
    """What of the shelf some words name, each once, with what it needs beside it; the longest name counts."""
    seen: set[str] = set()
    for word in words:
        found = max((name for name in _MAKERS if word == name or word.startswith(f"{name}/")), key=len, default="")
        for name in (found, *_NEEDS.get(found, ())):
            if name and name not in seen:
                seen.add(name)
                yield name


def _where(finer: int = 1) -> dict[str, object]:
    side = PIXEL / finer
    return {"crs": "EPSG:32632", "transform": Affine(side, 0, 500_000, 0, -side, 5_400_000)}


def _raster(seed: int, finer: int = 1) -> Callable[[Shelf, Path], None]:
    """Red, green, blue and near infrared in patches; the same ground whatever the size of a pixel."""

    def make(_: Shelf, path: Path) -> None:
        size = HEIGHT * finer, WIDTH * finer
        pixels = np.concatenate([blocks(*size, seed=seed), blocks(*size, seed=seed + 1)[:1]])
        write_raster(path, pixels, photometric="RGB", alpha="NO", **_where(finer))
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = ("red", "green", "blue", "nir")

    return make


def _labels(finer: int = 1) -> Callable[[Shelf, Path], None]:
    def make(_: Shelf, path: Path) -> None:
        write_raster(path, blocks(HEIGHT * finer, WIDTH * finer, side=16)[:1] % 3, **_where(finer))

    return make


def _model(_: Shelf, path: Path) -> None:
    replace(random_network("fcn_small", len(CLASSES)), legend=Legend.from_names(CLASSES)).save(path)


def _weights(_: Shelf, path: Path) -> None:
    from torchvision.models.segmentation import fcn_resnet50

    torch.save(fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True).state_dict(), path)


def _polygons(column: str, *names: str) -> Callable[[Shelf, Path], None]:
    """Boxes side by side, 3 m from the raster's border and 6 m from each other."""

    def make(_: Shelf, path: Path) -> None:
        wide, high = WIDTH * PIXEL / len(names), HEIGHT * PIXEL
        lefts = [500_000 + k * wide for k in range(len(names))]
        boxes = [shapely.box(left + 3, 5_400_000 - high + 3, left + wide - 3, 5_400_000 - 3) for left in lefts]
        pyogrio.raw.write(
            path, shapely.to_wkb(boxes), [np.array(names, object)], [column], crs="EPSG:32632", geometry_type="Polygon",
            driver="GPKG" if path.suffix == ".gpkg" else "GeoJSON",
        )  # fmt: skip

    return make


def _clicks(shelf: Shelf, path: Path) -> None:
    """A point in the least green patch of the field, which is soil, and some of crop and weed in the greenest."""
    with rasterio.open(shelf.get("field.tif")) as dataset:
        red, nir = dataset.read([1, 4])[:, PATCH // 2 :: PATCH, PATCH // 2 :: PATCH].astype(float)
    order = ((nir - red) / (nir + red + 1e-9)).ravel().argsort(kind="stable")
    rows, cols = (PATCH * part + PATCH // 2 for part in np.divmod(order[[0, -1, -2, -3, -4]], red.shape[1]))
    points = shapely.points(500_000 + (cols + 0.5) * PIXEL, 5_400_000 - (rows + 0.5) * PIXEL)
    names = np.array(["soil", "crop", "weed", "crop", "weed"], object)
    pyogrio.raw.write(
        path, shapely.to_wkb(points), [names], ["class"], crs="EPSG:32632", geometry_type="Point", driver="GPKG"
    )


def _text(text: str) -> Callable[[Shelf, Path], None]:
    def make(_: Shelf, path: Path) -> None:
        path.write_text(text)

    return make


def _map(shelf: Shelf, path: Path) -> None:
    segment(shelf.get("field.tif"), shelf.get("weeds.safetensors"), path)


def _area(shelf: Shelf, path: Path) -> None:
    beside = path.with_name("layers")
    shutil.copytree(shelf.get("maps"), beside)
    make_layers(beside / "field_run.json", LayerOptions())
    shutil.copy(beside / "field_area.csv", path)


def _flights(shelf: Shelf, path: Path) -> None:
    for name in ("north/2026-05-01/a.tif", "south/2026-05-02/b.tif"):
        target = path / name
        target.parent.mkdir(parents=True)
        shutil.copy(shelf.get("field.tif"), target)
        os.utime(target, (1_780_000_000, 1_780_000_000))  # a younger one may still be growing


def _photos(shelf: Shelf, path: Path) -> None:
    path.mkdir()
    for name in ("field.tif", "other.tif"):
        shutil.copy(shelf.get(name), path / name)


def _trained(shelf: Shelf, path: Path) -> None:
    beside = path.with_name("training")
    beside.mkdir()
    shelf.lay("train.toml", beside)
    train(TrainConfig.of(tomllib.loads(TRAINING), beside), path)


_MAKERS: dict[str, Callable[[Shelf, Path], None]] = {
    "field.tif": _raster(0), "other.tif": _raster(5), "huge.tif": _raster(0), "north.tif": _raster(0),
    "labels.tif": _labels(), "other_labels.tif": _labels(),
    "finer.tif": _raster(0, FINER), "finer_labels.tif": _labels(FINER),
    "weeds.safetensors": _model, "m.safetensors": _model, "potato/best.safetensors": _model,
    "fcn_resnet50_coco.pth": _weights,
    "farm.gpkg": _polygons("name", "north", "south"), "trial.geojson": _polygons("plot", "p1", "p2", "p3"),
    "clicks.gpkg": _clicks,
    "weeds.gpkg": _polygons("class", "weed", "weed", "weed", "weed", "weed"), "done.gpkg": _polygons("name", "done"),
    "todo.gpkg": _polygons("why", "unsure between soil and weed"), "photos": _photos,
    "train.toml": _text(TRAINING), "jobs.toml": _text(JOBS), "flights": _flights, "weeds": _trained,
    "maps": _map, "maps/field_area.csv": _area, "maps/may": _map, "maps/june": _map, "maps/2026-05": _map, "maps/2026-06": _map,
}  # fmt: skip
_NEEDS = {"train.toml": ("field.tif", "labels.tif"), "jobs.toml": ("flights", "weeds.safetensors")}
