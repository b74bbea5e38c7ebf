"""How good a mask is: everything from one confusion matrix; and how visible its seams are."""

import numpy as np
from numpy.typing import NDArray

from agriseg.legend import NODATA


def confusion(truth: NDArray[np.uint8], mask: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count pixels by true and mapped class.

    Args:
        truth: (H, W) class ids; 255 is not counted.
        mask: (H, W) class ids; 255 is not counted.
        classes: number of classes K.

    Returns:
        (K, K) int64, rows are the truth.

    Raises:
        ValueError: a class id beyond K that is not 255.
    """
    both = (truth != NODATA) & (mask != NODATA)
    highest = max(truth[both].max(initial=0), mask[both].max(initial=0))
    if highest >= classes:
        raise ValueError(f"class {highest}, expected 0 to {classes - 1}, or 255 for nodata")
    pairs = truth[both].astype(np.int64) * classes + mask[both]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def iou(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union per class; NaN for a class neither in the truth nor in the mask.

    Args:
        matrix: (K, K) from `confusion`.

    Returns:
        (K,) float64 in [0, 1].
    """
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    scores = np.full(len(matrix), np.nan)
    return np.asarray(np.divide(hits, union, out=scores, where=union > 0), np.float64)


def seam_ratio(mask: NDArray[np.uint8], seams: NDArray[np.intp]) -> float:
    """How much more often the class changes across the columns where tiles meet than elsewhere.

    Args:
        mask: (H, W) class ids; pairs with 255 are not counted. Transpose it to look at rows.
        seams: columns at which a new tile takes over.

    Returns:
        Share of changes across the seams over the median share across other columns: 1 is seamless;
        NaN without a seam or where nothing ever changes.
    """
    left, right = mask[:, :-1], mask[:, 1:]
    counted = (left != NODATA) & (right != NODATA)
    changed = ((left != right) & counted).sum(0) / np.maximum(counted.sum(0), 1)
    at_seam = np.zeros(len(changed), bool)
    at_seam[seams[(seams > 0) & (seams < mask.shape[1])] - 1] = True
    elsewhere = np.median(changed[~at_seam]) if (~at_seam).any() else 0.0
    return float(changed[at_seam].mean() / elsewhere) if at_seam.any() and elsewhere > 0 else float("nan")
