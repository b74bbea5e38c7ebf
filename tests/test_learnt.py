"""What a model has learnt is known again: by its pixels, by where it lies, and along the way of its weights."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import UTM, blocks, write_raster
from PIL import Image
from rasterio.warp import transform, transform_bounds
from test_fit import GREY

from agriseg import SegmentationModel, load_model
from agriseg.errors import DataError, ModelError
from agriseg.evaluation.evaluate import evaluate
from agriseg.labels.learnt_images import LearntGround, LearntImages, packed
from agriseg.training.config import TrainConfig
from agriseg.training.dataset import load_dataset
from agriseg.training.run import TrainOptions, train

NOWHERE = {"crs": None, "transform": rasterio.Affine.identity()}
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def field(folder: Path, seed: int = 0, **profile: Any) -> tuple[Path, Path]:
    """An image with its labels, 192 x 192 px."""
    folder.mkdir(exist_ok=True)
    pixels = blocks(192, 192, seed=seed, low=1)
    image = write_raster(folder / "a.tif", pixels, **profile)
    return image, write_raster(folder / "a_labels.tif", (pixels[:1] > 128).astype(np.uint8), **{**GREY, **profile})


def config(image: Path, labels: Path, seed: int = 0, init: Path | None = None, **validation: Any) -> TrainConfig:
    tables = {
        "classes": ["a", "b"], "arch": "fcn_small", "data": {"images": str(image), "labels": str(labels)},
        "validation": {"block": 64, "buffer": 8, "share": 0.3, **validation}, "init": init and str(init),
        "recipe": {"steps": 1, "chip": 32, "batch": 2, "validate_every": 1, "seed": seed, "logit_adjustment": False},
    }  # fmt: skip
    return TrainConfig.of({key: value for key, value in tables.items() if value is not None}, Path())


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A model that was trained for a step, with its image and labels."""
    folder = tmp_path_factory.mktemp("first")
    image, labels = field(folder)
    return train(config(image, labels), folder / "out", TrainOptions("cpu")).model, image, labels


@pytest.mark.parametrize("seed", range(1, 4))
def test_what_the_first_model_learnt_is_not_held_back_from_the_second(
    first: tuple[Path, Path, Path], tmp_path: Path, seed: int
) -> None:
    model, image, labels = first
    seen = load_dataset(config(image, labels), tmp_path).training[0].all().ids != 255
    other = load_dataset(config(image, labels, seed), tmp_path)
    held = other.held[0].all().ids != 255
    rows, cols = np.nonzero(held)
    cells = np.add.reduceat(np.add.reduceat(seen, range(0, 192, 64), 0), range(0, 192, 64), 1) > 0
    expected = cells[rows // 64, cols // 64].mean()
    got = other.division.learnt_share(LearntImages.of_card(load_model(model).about).images)
    assert got == pytest.approx(expected, abs=0.04)
    assert expected > 0, "three blocks of nine: no other seed may draw the same"
    with pytest.raises(DataError, match=r"has learnt \d+% of what is held back; hold back what it has not"):
        load_dataset(config(image, labels, seed, model), tmp_path)
    marked = load_dataset(config(image, labels, seed, model, allow_learnt=True), tmp_path)
    assert marked.learnt_share.share == pytest.approx(expected, abs=0.04)
    assert "training data of the model" in (marked.learnt_share.doubt or "")
    same = load_dataset(config(image, labels, 0, model), tmp_path)
    assert (same.learnt_share.share, same.learnt_share.doubt) == (0, None), "the advice that the refusal gives"


def copy(kind: str, image: Path, labels: Path, folder: Path) -> tuple[Path, Path]:
    """The same ground in other files."""
    with rasterio.open(image) as a, rasterio.open(labels) as b:
        pixels, ids = a.read(), b.read()
    if kind == "png":
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / "b.png")
        return folder / "b.png", write_raster(folder / "b_labels.tif", ids, **GREY, **NOWHERE)
    where = dict(UTM)
    if kind == "coarser":
        pixels, ids = pixels[:, ::2, ::2] // 2 + 9, ids[:, ::2, ::2]
        where["transform"] = UTM["transform"] @ rasterio.Affine.scale(2)
    if kind == "part":
        pixels, ids = pixels[:, 30:190, 50:190] // 2, ids[:, 30:190, 50:190]
        where["transform"] = UTM["transform"] @ rasterio.Affine.translation(50, 30)
    if kind == "degrees":
        west, south, east, north = transform_bounds(UTM["crs"], "EPSG:4326", 5e5, 5.4e6 - 19.2, 5e5 + 19.2, 5.4e6)
        where = {"crs": "EPSG:4326", "transform": rasterio.transform.from_bounds(west, south, east, north, 230, 210)}
        rows, cols = np.indices((210, 230)).reshape(2, -1)
        places = np.array(transform("EPSG:4326", UTM["crs"], *(where["transform"] @ (cols + 0.5, rows + 0.5))))
        cols, rows = (np.floor(each).astype(int) for each in ~UTM["transform"] @ tuple(places))
        inside = ((rows >= 0) & (rows < 192) & (cols >= 0) & (cols < 192)).reshape(210, 230)
        rows, cols = rows.clip(0, 191), cols.clip(0, 191)
        pixels = pixels[:, rows, cols].reshape(3, 210, 230)
        ids = np.where(inside, ids[:, rows, cols].reshape(1, 210, 230), 255).astype(np.uint8)
    made = write_raster(folder / "b.tif", pixels, **where)
    return made, write_raster(folder / "b_labels.tif", ids, **GREY, **where)


@pytest.mark.parametrize("kind", ["tif", "png", "coarser", "part", "degrees"])
def test_the_same_ground_in_other_files_is_known_again(
    first: tuple[Path, Path, Path], tmp_path: Path, kind: str
) -> None:
    model, image, labels = first
    ground = LearntImages.of_card(load_model(model).about).images
    scored = evaluate(model, *copy(kind, image, labels, tmp_path))
    assert scored.learnt is not None
    found = scored.learnt.share or 0.0
    cells = ground[0].trained
    assert 0.1 < cells.mean() < 0.9
    assert found == pytest.approx(cells.mean(), abs=0.2 if kind == "part" else 0.05)
    assert scored.scores().learnt_share == found
    assert any("training data of the model" in text for text in scored.doubts)


def test_other_ground_is_other_ground(first: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Of the same size: elsewhere, or photographs of something else."""
    model = first[0]
    beside = {"transform": UTM["transform"] @ rasterio.Affine.translation(192, 0)}
    for number, profile in enumerate((beside, NOWHERE)):
        image, labels = field(tmp_path / str(number), 7, **profile)
        scored = evaluate(model, image, labels)
        assert scored.learnt is not None
        assert (scored.learnt.share, scored.learnt.doubt) == (0, None)


def test_what_was_learnt_goes_with_the_weights(first: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A third model knows what the first learnt; a model whose file tells nothing leaves it unknown for ever."""
    model, image, labels = first
    other, other_labels = field(tmp_path / "other", 5, **NOWHERE)
    second = load_dataset(config(other, other_labels, 3, model), tmp_path)
    assert second.learnt_share.share == 0
    assert len(second.learnt.images) == 2
    assert second.learnt.complete
    silent = load_model(model)
    silent = replace(silent, about={key: value for key, value in silent.about.items() if key != "ground"})
    silent.save(tmp_path / "silent.safetensors")
    scored = evaluate(silent, image, labels)
    assert any("unknown" in text for text in scored.doubts)
    after = load_dataset(config(other, other_labels, 3, tmp_path / "silent.safetensors"), tmp_path)
    assert (after.learnt_share.share, after.learnt.complete) == (None, False)
    assert "unknown" in (after.learnt_share.doubt or "")


def test_images_in_both_parts(tmp_path: Path) -> None:
    """Those to score on are those to train on, under another name."""
    image, labels = field(tmp_path / "one", **NOWHERE)
    again, again_labels = field(tmp_path / "two", **NOWHERE)
    chosen = config(image, labels)
    parts = {"images": again, "labels": again_labels}
    lists = chosen.model_copy(update={"validation": chosen.validation.model_copy(update=parts)})
    found = load_dataset(lists, tmp_path)
    assert found.learnt_share.share == 1
    assert found.learnt_share.doubt in found.remarks


def test_an_untrained_model_has_learnt_nothing(small: SegmentationModel) -> None:
    assert LearntImages.of_card(small.about) == LearntImages(complete=True)


@pytest.mark.parametrize("seed", range(5))
def test_learnt_ground_in_a_card_reads_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width, side = rng.integers(1, 500, 3).tolist()
    cells = rng.random((-(-height // side), -(-width // side))) < 0.5
    placed = "EPSG:32632", (0.1, 0.0, 5e5, 0.0, -0.1, 5.4e6)
    ground = LearntGround((height, width), side, packed(cells), "ab", *placed)

    def read(**changed: Any) -> LearntImages:
        record = json.dumps({"complete": True, "images": [{**asdict(ground), **changed}]})
        return LearntImages.of_card({"ground": json.loads(record)})

    assert read() == LearntImages(complete=True, images=(ground,))
    (back,) = read().images
    np.testing.assert_array_equal(back.trained, cells)
    rows, cols = rng.uniform(-10, height + 10, 99), rng.uniform(-10, width + 10, 99)
    inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    expected = [bool(ok and cells[int(r) // side, int(c) // side]) for r, c, ok in zip(rows, cols, inside, strict=True)]
    assert back.holds(rows, cols).tolist() == expected
    for damaged in ({"side": None}, {"cells": "?"}, {"size": [0, 0], "side": 0}):
        with pytest.raises(ModelError, match="learnt ground"):
            read(**damaged)
    for incomplete in ({"complete": True, "images": [{}]}, {"complete": True, "images": 3}, "?"):
        with pytest.raises(ModelError, match="learnt ground"):
            LearntImages.of_card({"ground": incomplete})
