"""Changes of class across seams, counted in strips, against counting the whole map by hand."""

import numpy as np
import pytest

from agriseg.metrics import ClassChanges


def ratio(mask: np.ndarray, cols: list[int], rows: list[int], strip: int = 1000) -> float | None:
    changes = ClassChanges(mask.shape[1])
    for top in range(0, len(mask), strip):
        changes.add(mask[top : top + strip])
    return changes.ratio(cols, rows)


def by_hand(mask: np.ndarray, seams: list[int]) -> float:
    """Of columns, by a loop over the lines between them."""
    shares = []
    for col in range(1, mask.shape[1]):
        pairs = [(a, b) for a, b in zip(mask[:, col - 1], mask[:, col], strict=True) if 255 not in (a, b)]
        shares.append(sum(a != b for a, b in pairs) / max(1, len(pairs)))
    at = [shares[seam - 1] for seam in seams]
    return float(np.mean(at) / np.median([share for col, share in enumerate(shares, 1) if col not in seams]))


def patches(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    mask = np.cumsum(rng.random((height, width)) < 0.1, axis=1).astype(np.uint8) % 4
    mask[rng.random(mask.shape) < 0.05] = 255
    return mask


@pytest.mark.parametrize("strip", [1, 7, 64, 1000])
def test_strips_count_as_the_whole_does(strip: int) -> None:
    mask, seams = patches(90, 120), [30, 60, 90]
    assert ratio(mask, seams, [], strip) == pytest.approx(by_hand(mask, seams))
    assert ratio(mask.T.copy(), [], seams, strip) == pytest.approx(by_hand(mask, seams))


def test_a_seam_is_seen() -> None:
    mask, seams = patches(400, 120), [30, 60, 90]
    assert ratio(mask, seams, []) == pytest.approx(1, abs=0.25)
    for seam in seams:
        mask[:, seam:] = np.where(mask[:, seam:] == 255, 255, (mask[:, seam:] + 1) % 4)
    assert ratio(mask, seams, []) > 5
    assert ratio(mask.T.copy(), [], seams) > 5


def test_what_has_no_seam_or_no_change_has_no_ratio() -> None:
    assert ratio(patches(50, 50), [], []) is None
    assert ratio(np.zeros((50, 50), np.uint8), [20], [20]) is None


def test_changes_to_nodata_do_not_count() -> None:
    mask = np.tile(np.uint8([0, 1]), (10, 20))
    mask[:, 20:] = 255
    assert ratio(mask, [20], []) == 0
