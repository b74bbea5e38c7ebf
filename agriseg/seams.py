"""How often the class of a map changes between neighbouring pixels, where tiles meet and elsewhere."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agriseg.legend import NODATA


class ClassChanges:
    """Counts of changes across each line between two columns or two rows; rows come from top to bottom, in any strips.

    Pairs with a pixel without data are not counted.

    Args:
        width: columns of the map.
    """

    def __init__(self, width: int) -> None:
        self._cols = np.zeros((2, width - 1), np.int64)  # (changed, counted)
        self._rows: list[NDArray[np.int64]] = []
        self._above = np.empty((0, width), np.uint8)

    def add(self, rows: NDArray[np.uint8]) -> None:
        """Count the next rows, (h, width) class ids."""
        self._cols += _counts(rows[:, :-1], rows[:, 1:], axis=0)
        stacked = np.concatenate([self._above, rows])
        self._rows.append(_counts(stacked[:-1], stacked[1:], axis=1))
        self._above = rows[-1:].copy()

    def ratio(self, col_seams: Sequence[int], row_seams: Sequence[int]) -> float | None:
        """How much more often the class changes where tiles meet than elsewhere.

        Args:
            col_seams: columns at which a new tile takes over.
            row_seams: rows.

        Returns:
            Share of changes across the seams over the median share across other lines, the mean of both axes: 1 is
            seamless. None without a seam, or where nothing ever changes.
        """
        rows = np.concatenate(self._rows, axis=1) if self._rows else np.zeros((2, 0), np.int64)
        pairs = ((self._cols, col_seams), (rows, row_seams))
        ratios = [ratio for counts, seams in pairs if (ratio := _ratio(counts, seams)) is not None]
        return float(np.mean(ratios)) if ratios else None


def _counts(one: NDArray[np.uint8], other: NDArray[np.uint8], axis: int) -> NDArray[np.int64]:
    """(2, lines) pairs that change, and pairs that count."""
    counted = (one != NODATA) & (other != NODATA)
    changed = (one != other) & counted
    return np.stack([each.sum(axis, dtype=np.uint32) for each in (changed, counted)]).astype(np.int64)


def _ratio(counts: NDArray[np.int64], seams: Sequence[int]) -> float | None:
    share = counts[0] / np.maximum(counts[1], 1)
    at_seam = np.zeros(len(share), bool)
    at_seam[[seam - 1 for seam in seams if 0 < seam <= len(share)]] = True
    elsewhere = np.median(share[~at_seam]) if (~at_seam).any() else 0.0
    return float(share[at_seam].mean() / elsewhere) if at_seam.any() and elsewhere > 0 else None
