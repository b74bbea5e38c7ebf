"""What is held back: each class in both parts where that can be, and no training without a class."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_raster
from test_fit import GREY, scene

from agriseg.errors import DataError
from agriseg.labels.scene import Scene
from agriseg.labels.spatial_split import BlockCounts, HoldoutDraw, SpatialSplit
from agriseg.training.config import TrainConfig
from agriseg.training.holdout import Counted, Division, divide

NAMES = ["soil", "crop", "weed"]


def labelled(folder: Path, name: str, ids: np.ndarray) -> Scene:
    write_raster(folder / f"{name}_labels.tif", ids[None].astype(np.uint8), **GREY)
    return scene(write_raster(folder / f"{name}.tif", np.full((3, *ids.shape), 7, np.uint8)))


def ground(rng: np.random.Generator, where: dict[int, int], side: int = 160, block: int = 32) -> np.ndarray:
    """Soil with other classes in so many blocks each, a pixel or some."""
    ids = np.zeros((side, side), int)
    rows, cols = np.divmod(rng.permutation((side // block) ** 2), side // block)
    for k, count in where.items():
        for row, col in zip(rows[:count], cols[:count], strict=True):
            ids[row * block + 10 : row * block + 14, col * block + 8 + 4 * k : col * block + 11 + 4 * k] = k
    return ids


def division(scenes: list[Scene], others: list[Scene] | None = None, seed: int = 0, **validation: Any) -> Division:
    tables = {
        "classes": NAMES, "data": {"images": "i", "labels": "l"}, "recipe": {"steps": 1, "seed": seed, "chip": 32},
        "validation": {"block": 32, "buffer": 4, "share": 0.25, **validation},
    }  # fmt: skip
    if others is not None:
        tables["validation"] = {"images": "i", "labels": "l"}
    config = TrainConfig.of(tables, Path())
    return divide(config, *([Counted.of(one, config) for one in part] for part in (scenes, others or [])))


def seen(scenes: Any) -> list[int]:
    return sum(np.bincount(one.all().ids.ravel(), minlength=256)[:3] for one in scenes).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_counts_by_block_are_those_of_the_masks(tmp_path: Path, seed: int) -> None:
    """Whatever the blocks, the belt and what is held back, and where the raster ends."""
    rng = np.random.default_rng(seed)
    height, width, side = rng.integers(40, 130, 3) // (1, 1, 2)
    buffer = int(rng.choice([0, rng.integers(0, side + 1), side]))
    ids = rng.choice([0, 1, 2, 255], (height, width))
    one = labelled(tmp_path, "a", ids)
    split = SpatialSplit.draw(
        height, width, HoldoutDraw(seed, float(rng.uniform(0.1, 0.6))), side=int(side), buffer=buffer
    )
    counts = BlockCounts.of(one, 3, int(side), buffer)
    assert counts.totals.tolist() == [(ids == k).sum() for k in range(3)]
    for got, keep in zip(counts.parts(split.held), (split.training, split.validation), strict=True):
        assert got.tolist() == seen([Scene(one.source, replace(one.labels, keep=keep))])


@pytest.mark.parametrize("by", ["block", "random"])
@pytest.mark.parametrize("seed", range(5))
def test_each_class_is_in_both_parts(tmp_path: Path, seed: int, by: str) -> None:
    """Two rare ones, each in few blocks; what is counted is what the scenes hold."""
    rng = np.random.default_rng(seed)
    scenes = [labelled(tmp_path, name, ground(rng, {1: int(rng.integers(1, 4)), 2: 1})) for name in "ab"]
    found = division(scenes, seed=seed, by=by)
    assert (found.pixels > 0).all()
    assert found.pixels.tolist() == [seen(found.training), seen(found.held)]
    assert not found.remarks(NAMES)
    again = division(scenes, seed=seed, by=by)
    assert (again.draws, again.pixels.tolist()) == (found.draws, found.pixels.tolist())


def test_a_draw_that_serves_is_the_first(tmp_path: Path) -> None:
    """Where all classes are everywhere, the split is that of the seed alone."""
    one = labelled(tmp_path, "a", np.indices((160, 160)).sum(0) % 3)
    found = division([one], seed=3)
    assert found.draws == 1
    expected = SpatialSplit.draw(160, 160, HoldoutDraw(3, 0.25), side=32, buffer=4)
    assert seen(found.held) == seen([Scene(one.source, replace(one.labels, keep=expected.validation))])


@pytest.mark.parametrize("seed", range(4))
def test_whole_images_are_divided_alike(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [labelled(tmp_path, str(n), ground(rng, {1: 3, 2: n < 2}, side=64)) for n in range(6)]
    assert (division(scenes, seed=seed, by="file").pixels > 0).all()
    assert (division(scenes, seed=seed, by="file", folds=2).pixels > 0).all()


@pytest.mark.parametrize("by", ["block", "file"])
def test_a_class_in_one_place_is_trained_on_and_said_not_to_be_scored(tmp_path: Path, by: str) -> None:
    """A single pixel."""
    for seed in range(4):
        ids = [ground(np.random.default_rng(seed), {1: 8}) for _ in range(3)]
        ids[1][77, 83] = 2
        found = division([labelled(tmp_path, str(n), each) for n, each in enumerate(ids)], seed=seed, by=by)
        assert found.pixels[:, 2].tolist() == [1, 0]
        assert [text for text in found.remarks(NAMES) if "class weed" in text and "(1 to train on)" in text]
    assert "weed 1 and 0" in found.notes(NAMES)[0]


def test_folds_share_one_draw(tmp_path: Path) -> None:
    """Each pixel is held back once, and each class can be trained on in each of them."""
    scenes = [labelled(tmp_path, "a", ground(np.random.default_rng(1), {1: 3, 2: 2}))]
    parts = [division(scenes, folds=3, fold=fold) for fold in range(3)]
    assert sum(seen(each.held)[0] for each in parts) == seen(scenes)[0]
    assert len({each.draws for each in parts}) == 1
    assert all((each.pixels[0] > 0).all() for each in parts)


@pytest.mark.parametrize(
    ("where", "validation", "says"),
    [
        ({1: 5}, {}, r"train on: weed \(0 px held back\); label some, or take it out of classes, with values"),
        ({1: 5}, {"by": "file"}, r"weed \(0 px held back\); label some"),
        ({1: 5, 2: 1}, {"folds": 4}, r"in part \d of 4: weed \(12 px held back\); .*leave the folds out"),
        ({}, {}, r"crop \(0 px held back\), weed \(0 px held back\)"),
    ],
)  # fmt: skip
def test_a_class_without_a_pixel_to_train_on_is_refused(
    tmp_path: Path, where: dict[int, int], validation: dict[str, Any], says: str
) -> None:
    scenes = [labelled(tmp_path, name, ground(np.random.default_rng(0), where)) for name in "ab"]
    if "folds" in validation:
        scenes = scenes[:1]
    with pytest.raises(DataError, match=says):
        division(scenes, **validation)


def test_images_of_ones_own_to_score_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    some, all_three = (labelled(tmp_path, n, ground(rng, k)) for n, k in [("a", {1: 5}), ("b", {1: 5, 2: 5})])
    with pytest.raises(DataError, match=r"weed \(60 px held back\); add an image that has it"):
        division([some], [all_three])
    assert len(division([all_three], [some]).remarks(NAMES)) == 1
    nothing = labelled(tmp_path, "c", np.full((64, 64), 255))
    with pytest.raises(DataError, match="no labelled pixel is held back"):
        division([all_three], [nothing])
