"""Scores by patches equal an independent count, and their intervals hold what they promise."""

from pathlib import Path

import numpy as np
import pytest
from conftest import write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy import ndimage

from agriseg.evaluation.counts import count_pixels
from agriseg.evaluation.patches import BLOCK, PatchScores, clustered_interval, score_patches
from agriseg.labels.raster import LabelRaster
from agriseg.legend import Legend
from agriseg.raster.header import RasterInfo

GREY = {"photometric": "MINISBLACK"}
UTM = {"crs": "EPSG:32633"}


def scored(folder: Path, truth: NDArray[np.uint8], mapped: NDArray[np.uint8], gsd: float | None) -> list[PatchScores]:
    place = {"crs": None, "transform": None} if gsd is None else {**UTM, "transform": from_origin(5e5, 5e6, gsd, gsd)}
    labels = LabelRaster.of(write_raster(folder / "l.tif", truth[None], **GREY, **place), range(3))
    mask = write_raster(folder / "m.tif", mapped[None], nodata=255, **GREY, **place)
    counts = count_pixels(mask, None, labels, 3)
    return score_patches(counts.patches, Legend.from_names("abc"), counts.blocks.sum((0, 2)).tolist())


def by_scipy(own: NDArray[np.uint8], other: NDArray[np.uint8], k: int, least_px: float) -> tuple[int, int]:
    """Patches of class k in `own` of at least so many pixels, and those of which `other` has at least half."""
    counted = (own != 255) & (other != 255)
    groups, count = ndimage.label((own == k) & counted)
    index = np.arange(1, count + 1)
    sizes = ndimage.sum_labels(np.ones(own.shape), groups, index)
    hits = ndimage.sum_labels(other == k, groups, index)
    large = sizes >= least_px
    return int(large.sum()), int((2 * hits >= sizes)[large].sum())


def spots(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Class ids 0 to 2 in patches of several sizes, with holes; mostly 0."""
    smooth = ndimage.gaussian_filter(rng.normal(size=(height, width)), rng.uniform(0.5, 3))
    found = np.digitize(smooth, np.quantile(smooth, [0.8, 0.93])).astype(np.uint8)
    found[rng.random((height, width)) < rng.choice([0, 0.02])] = 255
    return found


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), gsd=st.sampled_from([None, 0.01, 0.037]))
def test_patches_are_those_of_scipy(tmp_path_factory: pytest.TempPathFactory, seed: int, gsd: float | None) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 330, 2).tolist()
    truth, mapped = spots(rng, height, width), spots(rng, height, width)
    both = rng.random() < 0.5
    mapped = np.where(rng.random(mapped.shape) < 0.1, mapped, truth) if both else mapped
    folder = tmp_path_factory.mktemp("m")
    for each in scored(folder, truth, mapped, gsd):
        k = "abc".index(each.name)
        areas = RasterInfo.read(folder / "m.tif").georeference.pixel_areas(width, range(height))
        least_px = np.pi / 4 * each.least**2 / (1 if areas is None else areas.mean())
        labelled, found = by_scipy(truth, mapped, k, least_px)
        made, right = by_scipy(mapped, truth, k, least_px)
        assert each.unit == ("px" if gsd is None else "m")
        assert (each.found.whole, each.found.part) == (labelled, found)
        assert (each.wrong.whole, each.wrong.part) == (made, made - right)


def test_sizes_begin_at_three_pixels_and_end_where_ten_labelled_patches_are(tmp_path: Path) -> None:
    truth = np.zeros((60, 300), np.uint8)
    for k in range(10):
        truth[5:25, 25 * k + 1 : 25 * k + 21] = 1  # 22.6 px across
    truth[30:58, 5:50] = 1  # 40 px
    truth[40:42, 60:62] = 1  # 2.3 px
    scores = scored(tmp_path, truth, truth, 0.01)
    assert [(each.name, each.least, each.found.whole, each.found.part) for each in scores] == [
        ("b", 0.05, 11, 11), ("b", 0.1, 11, 11), ("b", 0.2, 11, 11),
    ]  # fmt: skip
    few = scored(tmp_path, truth[30:], truth[30:], 0.01)
    assert [(each.least, each.found.whole, each.found.share_95) for each in few] == [(0.05, 1, [None, None])]


def test_the_ground_is_no_patch_and_a_class_without_labels_has_no_score(tmp_path: Path) -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[5:15, 5:15] = 1
    mapped = np.where(truth == 1, 2, truth).astype(np.uint8)
    scores = scored(tmp_path, truth, mapped, None)
    assert {each.name for each in scores} == {"b"}
    assert all((each.found.share, each.wrong.share) == (0.0, None) for each in scores)


@pytest.mark.parametrize(
    ("blocks", "patches", "share", "alike"),
    [
        (5, 10, 0.9, 0.0),
        (12, 8, 0.94, 0.0),
        (8, 10, 0.9, 0.1),
        (20, 10, 0.9, 0.3),
        (10, 30, 0.5, 0.1),
        (30, 10, 0.7, 0.3),
    ],
)
def test_intervals_cover_the_truth(blocks: int, patches: int, share: float, alike: float) -> None:
    """In 90 to 98 of 100 simulations, of independent patches and of blocks whose patches are alike."""
    rng, covered, rounds = np.random.default_rng(), 0, 1500
    for _ in range(rounds):
        counts = rng.poisson(patches, blocks) + 1
        own = np.full(blocks, share)
        if alike:
            own = rng.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), blocks)
        hits = rng.random(counts.sum()) < np.repeat(own, counts)
        low, high = clustered_interval(hits, np.repeat(np.arange(blocks), counts))
        assert low is not None
        assert high is not None
        covered += low <= share <= high
    spread = 4 * np.sqrt(0.9 * 0.1 / rounds)
    assert 0.90 - spread < covered / rounds < 0.98 + spread


def test_patches_of_several_rasters_are_in_blocks_of_their_own(tmp_path: Path) -> None:
    truth = np.zeros((40, BLOCK + 40), np.uint8)
    truth[5:15, 5:15] = truth[5:15, BLOCK + 5 : BLOCK + 15] = 1
    labels = LabelRaster.of(write_raster(tmp_path / "l.tif", truth[None], **GREY), range(3))
    mask = write_raster(tmp_path / "m.tif", truth[None], nodata=255, **GREY)
    one = count_pixels(mask, None, labels, 3).patches
    assert len(np.unique((one + one + one).labelled.block[(one + one + one).labelled.class_id == 1])) == 6


@pytest.mark.parametrize("seed", range(3))
def test_patches_of_a_part_are_compared_where_it_lies(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, col, row = spots(rng, 90, 120), int(rng.integers(1, 40)), int(rng.integers(1, 40))
    part = truth[row : row + 45, col : col + 70]
    labels = LabelRaster.of(write_raster(tmp_path / "l.tif", truth[None], **GREY), range(3))
    place = labels.info.georeference.shifted(col, row).transform
    mask = write_raster(tmp_path / "m.tif", part[None], nodata=255, **{**GREY, "transform": place})
    patches = count_pixels(mask, None, labels, 3, (col, row)).patches
    assert len(patches.labelled.hit) == len(patches.mapped.hit) > 0
    assert patches.labelled.hit.all()
    assert patches.mapped.hit.all()
