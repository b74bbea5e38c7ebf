"""Metrics against counting by hand and against a definition written another way."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from agriseg.metrics import (
    ClassScores,
    bootstrap,
    boundary_band,
    calibration_error,
    confusion,
    fit_temperature,
    iou,
    mean_iou,
    softmax_confidence,
    value_counts,
)


def masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth, mask = rng.integers(0, 4, (2, 37, 53)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.1] = 255
    mask[rng.random(mask.shape) < 0.1] = 255
    return truth, mask


def test_confusion_by_hand() -> None:
    truth = np.uint8([[0, 0, 1], [1, 255, 0]])
    mask = np.uint8([[0, 1, 1], [1, 0, 255]])
    assert confusion(truth, mask, 3).tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    scores = iou(confusion(truth, mask, 3))
    assert scores[:2].tolist() == [1 / 2, 2 / 3]
    assert np.isnan(scores[2])


@pytest.mark.parametrize("seed", range(5))
def test_iou_by_sets(seed: int) -> None:
    truth, mask = masks(seed)
    both = (truth != 255) & (mask != 255)
    expected = [
        np.sum((truth == k) & (mask == k) & both) / np.sum(((truth == k) | (mask == k)) & both) for k in range(4)
    ]
    np.testing.assert_allclose(iou(confusion(truth, mask, 4)), expected, rtol=1e-15)


def test_a_class_beyond_the_legend_is_refused() -> None:
    with pytest.raises(ValueError, match="class 3, expected 0 to 2"):
        confusion(np.uint8([[0]]), np.uint8([[3]]), 3)


def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchmetrics divides in float32 otherwise."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)


@pytest.fixture(autouse=True)
def usual_numbers() -> Iterator[None]:
    """Each test leaves torch's default behind as it was."""
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_torchmetrics(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.functional import classification as reference

    truth, mask = masks(seed)
    both = (truth != 255) & (mask != 255)
    t, m = torch.from_numpy(truth[both].astype(int)), torch.from_numpy(mask[both].astype(int))
    scores = ClassScores.of(confusion(truth, mask, 4))
    how = {"num_classes": 4, "average": "none"}
    in_float64(monkeypatch)
    for got, function in [
        (scores.iou, reference.multiclass_jaccard_index),
        (scores.precision, reference.multiclass_precision),
        (scores.recall, reference.multiclass_recall),
        (scores.f1, reference.multiclass_f1_score),
    ]:
        np.testing.assert_allclose(got, function(m, t, **how).numpy(), rtol=0, atol=1e-9)
    assert scores.support.tolist() == torch.bincount(t).tolist()


def test_calibration_error_equals_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.functional.classification import binary_calibration_error

    rng = np.random.default_rng(0)
    level = rng.integers(126, 250, 20_000)
    level = level[level % 50 != 0]  # on the edge of a bin, where one may round up and the other down
    right = rng.random(len(level)) < (level / 250) ** 2  # too sure of itself
    pixels, hits = np.bincount(level, minlength=251), np.bincount(level[right], minlength=251)
    in_float64(monkeypatch)
    expected = binary_calibration_error(torch.from_numpy(level / 250), torch.from_numpy(right.astype(int)), n_bins=15)
    got = calibration_error(pixels, hits)
    assert got == pytest.approx(float(expected), abs=1e-9)
    assert got > 0.1
    honest = rng.random(len(level)) < level / 250
    assert calibration_error(pixels, np.bincount(level[honest], minlength=251)) < 0.02
    assert np.isnan(calibration_error(np.zeros(251, int), np.zeros(251, int)))


def test_bootstrap_covers_what_is_true() -> None:
    """In 19 of 20 fields whose truth is known, more or less."""
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        quality = rng.beta(8, 2, 60)  # each block of ground is easy or hard as a whole
        hits = rng.binomial(100, quality)
        blocks = np.array([[[h, 100 - h], [0, 100]] for h in hits])
        low, high = bootstrap(blocks, lambda matrix: np.array(matrix[0, 0] / matrix[0].sum()), rounds=300, seed=seed)
        covered += low <= 0.8 <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_bootstrap_is_wider_than_pixels_would_say() -> None:
    hits = np.random.default_rng(2).choice([20, 100], 40)
    blocks = np.array([[[h, 100 - h], [0, 100]] for h in hits])
    low, high = bootstrap(blocks, lambda matrix: np.array(matrix[0, 0] / matrix[0].sum()))
    share = hits.mean() / 100
    by_pixels = 2 * 1.96 * np.sqrt(share * (1 - share) / 4000)
    assert high - low > 3 * by_pixels


def test_bootstrap_says_nothing_of_a_class_that_is_nowhere() -> None:
    """Its ends are NaN, without a warning of numpy's; those of the others are what they are without it."""
    rng = np.random.default_rng(5)
    two = rng.integers(1, 50, (12, 2, 2))
    three = np.zeros((12, 3, 3), np.int64)
    three[:, :2, :2] = two
    for end, alone in zip(bootstrap(three, iou), bootstrap(two, iou), strict=True):
        np.testing.assert_array_equal(end, [*alone, np.nan])


@pytest.mark.parametrize("seed", range(3))
def test_a_mean_is_of_the_classes_in_the_truth(seed: int) -> None:
    """Mapped or not, a class that is not there is not in the mean; it lowers the others by what it takes."""
    matrix = np.random.default_rng(seed).integers(1, 50, (4, 4))
    matrix[2] = 0
    expected = np.mean([matrix[k, k] / (matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]) for k in (0, 1, 3)])
    assert mean_iou(matrix) == pytest.approx(expected)
    assert np.isnan(mean_iou(np.zeros((4, 4), np.int64)))


def test_edge_by_brute_force() -> None:
    member = np.random.default_rng(3).random((30, 40)) < 0.8
    rows, cols = np.nonzero(~np.pad(member, 1))
    expected = np.zeros_like(member)
    for row, col in np.ndindex(*member.shape):
        far = np.maximum(np.abs(rows - row - 1), np.abs(cols - col - 1))
        expected[row, col] = member[row, col] and far.min() <= 2
    np.testing.assert_array_equal(boundary_band(member, 2), expected)


def test_a_temperature_is_the_likeliest() -> None:
    """Labels drawn from logits over a known temperature; and no other on a grid is likelier, by torch's own loss."""
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (40_000, 3)).astype(np.float32)
    for known in (0.5, 1.0, 2.5):
        shares = torch.from_numpy(logits / known).softmax(1).numpy()
        truth = (shares.cumsum(1) < rng.random((len(logits), 1))).sum(1).clip(max=2)
        found = fit_temperature(logits, truth)
        assert found == pytest.approx(known, rel=0.05)

        def loss(temperature: float, truth: np.ndarray = truth) -> float:
            return float(
                torch.nn.functional.cross_entropy(torch.from_numpy(logits) / temperature, torch.from_numpy(truth))
            )

        assert all(loss(found) <= loss(found * factor) + 1e-7 for factor in (0.5, 0.9, 0.98, 1.02, 1.1, 2.0))
        sure = softmax_confidence(logits, found)
        np.testing.assert_allclose(sure, torch.from_numpy(logits / found).softmax(1).max(1).values, atol=1e-5)


def test_a_temperature_has_ends() -> None:
    logits = np.eye(3)[[0, 1, 2] * 20]
    assert fit_temperature(logits, np.array([0, 1, 2] * 20)) == pytest.approx(0.05)
    assert fit_temperature(logits, np.array([1, 2, 0] * 20)) == pytest.approx(20)


@pytest.mark.parametrize("shape", [(1, 1), (0, 5), (64, 200)])
def test_counts_of_values_are_numpys(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for each in (values, values[:, ::2], values.T):
        np.testing.assert_array_equal(value_counts(each), np.bincount(each.ravel(), minlength=256))
