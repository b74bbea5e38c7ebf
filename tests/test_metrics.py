"""Metrics against counting by hand and against a definition written another way."""

import numpy as np
import pytest

from agriseg.metrics import confusion, iou, seam_ratio


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


def test_seam_ratio_sees_a_seam() -> None:
    rng = np.random.default_rng(0)
    mask = np.cumsum(rng.random((400, 120)) < 0.1, axis=1).astype(np.uint8) % 4
    seams = np.array([30, 60, 90])
    assert seam_ratio(mask, seams) == pytest.approx(1, abs=0.25)
    for seam in seams:
        mask[:, seam:] = (mask[:, seam:] + 1) % 4  # now almost every row changes there
    assert seam_ratio(mask, seams) > 5
    assert np.isnan(seam_ratio(mask, np.array([], int)))
    assert np.isnan(seam_ratio(np.zeros_like(mask), seams))


def test_seam_ratio_counts_no_change_to_nodata() -> None:
    mask = np.tile(np.uint8([0, 1]), (10, 20))
    mask[:, 20:] = 255
    assert seam_ratio(mask, np.array([20])) == 0
