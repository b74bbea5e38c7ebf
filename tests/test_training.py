"""Labels, splits, losses, chips, the loop: the laws of training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise, write_raster

from agriseg.errors import DataError, InputMissing, ModelError, UsageError
from agriseg.grid import Window
from agriseg.labels.pairs import find_pairs
from agriseg.labels.raster import LabelRaster, misfit
from agriseg.labels.spatial_split import HoldoutDraw, SpatialSplit
from agriseg.metrics import confusion, iou
from agriseg.raster.header import RasterInfo
from agriseg.training.logit_adjustment import best_offsets
from agriseg.training.losses import build_loss, cross_entropy, dice, focal, ohem

# labels


def test_numbers_become_classes(tmp_path: Path) -> None:
    stored = np.uint8([[[3, 7, 255], [7, 3, 3]]])
    labels = LabelRaster.of(write_raster(tmp_path / "l.tif", stored, photometric="MINISBLACK"), [3, 7])
    assert labels.read(Window(0, 0, 3, 2)).tolist() == [[0, 1, 255], [1, 0, 0]]
    assert labels.read(Window(1, 0, 1, 2)).tolist() == [[1], [0]]
    assert not labels.survey().unknown


def test_colours_become_classes(tmp_path: Path) -> None:
    colours = [(0, 0, 0), (0, 176, 0), (255, 0, 0)]
    ids = np.random.default_rng(0).integers(0, 3, (20, 30))
    stored = np.moveaxis(np.uint8(colours)[ids], 2, 0)
    labels = LabelRaster.of(write_raster(tmp_path / "l.png", stored, driver="PNG", crs=None, transform=None), colours)
    np.testing.assert_array_equal(labels.read(Window(0, 0, 30, 20)), ids)


def test_nodata_is_ignored(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "l.tif", np.uint8([[[0, 1, 9]]]), nodata=9, photometric="MINISBLACK")
    assert LabelRaster.of(path, [0, 1]).read(Window(0, 0, 3, 1)).tolist() == [[0, 1, 255]]


def test_values_that_are_no_class_are_counted_and_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "l.tif", np.int16([[[0, 7, -1], [7, 1, 300]]]), photometric="MINISBLACK")
    labels = LabelRaster.of(path, [0, 1])
    assert labels.survey().unknown == {7: 2, -1: 1, 300: 1}
    with pytest.raises(DataError, match="no class"):
        labels.read(Window(0, 0, 3, 2))


@pytest.mark.parametrize(
    ("pixels", "values", "says"),
    [
        (noise(4, 4), [0, 1], "expected one with class numbers"),
        (np.uint8([[[0]]]), [(0, 0, 0), (1, 1, 1)], r"colours \(red, green, blue\)"),
    ],
)
def test_label_rasters_of_the_wrong_kind(tmp_path: Path, pixels: np.ndarray, values: list, says: str) -> None:
    with pytest.raises(DataError, match=says):
        LabelRaster.of(write_raster(tmp_path / "l.tif", pixels), values)


def test_labels_must_lie_on_the_images_grid(tmp_path: Path) -> None:
    from rasterio import Affine

    image = RasterInfo.read(write_raster(tmp_path / "i.tif", noise(40, 50)))

    def why(name: str, height: int = 40, **profile: object) -> str | None:
        path = write_raster(tmp_path / name, np.zeros((1, height, 50), np.uint8), photometric="MINISBLACK", **profile)
        return misfit(image, RasterInfo.read(path))

    where = image.georeference.transform
    assert why("same.tif") is None
    assert why("photo.png", driver="PNG", crs=None, transform=None) is None
    assert "50 x 41 px, but i.tif has 50 x 40" in str(why("size.tif", height=41))
    assert "CRS EPSG:32633, but i.tif has EPSG:32632" in str(why("crs.tif", crs="EPSG:32633"))
    assert "lies 0.50 px beside" in str(why("shift.tif", transform=where @ Affine.translation(0.5, 0)))
    assert "px beside" in str(why("south.tif", transform=where @ Affine.translation(0, 40) @ Affine.scale(1, -1)))


# pairs


def test_pairs_by_name(tmp_path: Path) -> None:
    for name in ("i/b.jpg", "i/a.tif", "l/a_mask.png", "l/b_mask.png", "l/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pairs = find_pairs(tmp_path / "i", tmp_path / "l", "_mask")
    assert [(pair.image.name, pair.labels.name) for pair in pairs] == [("a.tif", "a_mask.png"), ("b.jpg", "b_mask.png")]
    assert find_pairs(tmp_path / "i/a.tif", tmp_path / "l/a_mask.png")[0].image == tmp_path / "i/a.tif"
    (tmp_path / "i/c.tif").touch()
    (tmp_path / "l/d_mask.png").touch()
    with pytest.raises(DataError, match=r"2 without a partner: .*c.tif has no labels; .*d_mask.png has no image"):
        find_pairs(tmp_path / "i", tmp_path / "l", "_mask")
    (tmp_path / "empty").mkdir()
    for images in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputMissing):
            find_pairs(images, tmp_path / "empty")
    (tmp_path / "i/a.jpg").touch()
    with pytest.raises(DataError, match="share a stem"):
        find_pairs(tmp_path / "i", tmp_path / "l", "_mask")


# blocks


@pytest.mark.parametrize("buffer", [0, 3, 16])
def test_blocks_hold_back_and_keep_their_distance(buffer: int) -> None:
    split = SpatialSplit.draw(100, 133, HoldoutDraw(1, 0.25), side=16, buffer=buffer)
    whole = Window(0, 0, 133, 100)
    held, kept = split.validation(whole), split.training(whole)
    assert not (held & kept).any()
    rows, cols = np.nonzero(held)
    near = np.zeros_like(held)  # by brute force: within `buffer` of a pixel that is held back
    for row, col in zip(rows, cols, strict=True):
        near[max(0, row - buffer) : row + buffer + 1, max(0, col - buffer) : col + buffer + 1] = True
    np.testing.assert_array_equal(kept, ~near)
    part = Window(40, 20, 30, 50)
    np.testing.assert_array_equal(split.training(part), kept[20:70, 40:70])
    np.testing.assert_array_equal(split.validation(part), held[20:70, 40:70])
    assert np.mean(split.held) == pytest.approx(0.25, abs=0.01)


def test_folds_hold_back_every_block_once() -> None:
    held = np.stack([HoldoutDraw(3, 0.2, folds=4, fold=fold)(30) for fold in range(4)])
    assert held.sum(0).tolist() == [1] * 30
    assert sorted(held.sum(1).tolist()) == [7, 7, 8, 8]
    assert HoldoutDraw(3, 0.2)(30).sum() == 6
    assert HoldoutDraw(3, 0.99)(2).sum() == 1, "never all"


def test_blocks_need_room() -> None:
    with pytest.raises(UsageError, match="one block"):
        SpatialSplit.draw(50, 60, HoldoutDraw(0, 0.2), side=64, buffer=0)
    with pytest.raises(UsageError, match="buffer"):
        SpatialSplit.draw(500, 600, HoldoutDraw(0, 0.2), side=64, buffer=65)


# losses


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    logits, labels = torch.randn(2, 3, 8, 9, requires_grad=True), torch.randint(0, 3, (2, 8, 9))
    labels[0, :3] = 255
    return logits, labels


def test_losses_by_their_definitions() -> None:
    logits, labels = batch()
    shares = logits.detach().softmax(1).double().numpy()
    truth = labels.numpy()
    known = truth != 255
    n, r, c = np.nonzero(known)
    picked = shares[n, truth[known], r, c]
    weights = torch.tensor([1.0, 2.0, 5.0])
    by_class = weights.double().numpy()[truth[known]]
    assert cross_entropy(logits, labels).item() == pytest.approx(-np.log(picked).mean(), rel=1e-5)
    assert cross_entropy(logits, labels, weights).item() == pytest.approx(
        -(by_class * np.log(picked)).sum() / by_class.sum(), rel=1e-5
    )
    assert focal(logits, labels).item() == pytest.approx(-((1 - picked) ** 2 * np.log(picked)).mean(), rel=1e-5)
    hardest = np.sort(-np.log(picked))[::-1][: round(0.25 * len(picked))]
    assert ohem(logits, labels).item() == pytest.approx(hardest.mean(), rel=1e-5)
    scores = []
    for k in range(3):
        s, t = shares[:, k][known], (truth[known] == k).astype(float)
        scores.append(2 * (s * t).sum() / (s + t).sum())
    assert dice(logits, labels).item() == pytest.approx(1 - np.mean(scores), rel=1e-5)
    total = build_loss({"ce": 1, "dice": 0.5})(logits, labels)
    assert total.item() == pytest.approx((cross_entropy(logits, labels) + 0.5 * dice(logits, labels)).item(), rel=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, dice, focal, ohem])
def test_losses_of_nothing_are_zero_and_ignored_pixels_have_no_say(loss: object) -> None:
    logits, labels = batch()
    nothing = loss(logits, torch.full_like(labels, 255))  # type: ignore[operator]
    assert nothing.item() == 0
    nothing.backward()
    loss(logits, labels).backward()  # type: ignore[operator]
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0, :, :3] == 0).all()
    assert (logits.grad[1] != 0).any()


def test_a_loss_that_is_none() -> None:
    with pytest.raises(ModelError, match="loss jaccard; known are ce, dice, focal, ohem"):
        build_loss({"jaccard": 1.0})


# where the line is drawn


def test_offsets_serve_the_mean_iou() -> None:
    """Against every difference of two offsets on a fine grid; the rare and doubtful class gains."""
    rng = np.random.default_rng(0)
    truth = (rng.random(20_000) < 0.05).astype(np.uint8)
    evidence = rng.normal(np.where(truth == 1, 1.5, 0), 1)
    logits = np.stack([np.zeros(len(truth)), 1.5 * evidence - 1.125 + np.log(0.05 / 0.95)], 1).astype(np.float32)

    def score(difference: float) -> float:
        mapped = (logits[:, 1] + difference > logits[:, 0]).astype(np.uint8)
        return float(iou(confusion(truth, mapped, 2)).mean())

    offsets = best_offsets(logits, truth)
    best = max(score(difference) for difference in np.arange(-4, 4, 0.05))
    assert score(offsets[1] - offsets[0]) > best - 0.003
    assert best > score(0) + 0.03
    assert offsets[1] > offsets[0]


def test_offsets_of_a_perfect_network_are_none() -> None:
    truth = np.arange(300).astype(np.uint8) % 3
    assert best_offsets(10 * np.eye(3, dtype=np.float32)[truth], truth) == [0.0, 0.0, 0.0]
