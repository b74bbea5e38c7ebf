"""What a model says within each box of a raster: counted while the raster is mapped, a few numbers a box."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.grid import Window


@dataclass(frozen=True)
class BoxGrid:
    """Square boxes side by side, in the middle of a window of a raster; what is left over at its edges is in none.

    Args:
        side: of a box (px); a window that is shorter or narrower has boxes of its own height or width.
    """

    roi: Window
    side: int

    @property
    def row_edges(self) -> NDArray[np.int64]:
        """First rows of the boxes, and the row below the last."""
        return _edges(self.roi.row_off, self.roi.height, self.side)

    @property
    def col_edges(self) -> NDArray[np.int64]:
        """First columns of the boxes, and the column right of the last."""
        return _edges(self.roi.col_off, self.roi.width, self.side)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of boxes."""
        return len(self.row_edges) - 1, len(self.col_edges) - 1

    def __len__(self) -> int:
        """Number of boxes."""
        return self.shape[0] * self.shape[1]

    def window(self, number: int) -> Window:
        """The pixels of a box; boxes are numbered from 0 along the rows."""
        row, col = divmod(number, self.shape[1])
        (top, bottom), (left, right) = self.row_edges[row : row + 2].tolist(), self.col_edges[col : col + 2].tolist()
        return Window(left, top, right - left, bottom - top)


def _edges(start: int, length: int, side: int) -> NDArray[np.int64]:
    count, used = max(1, length // side), min(side, length)
    return start + (length - count * used) // 2 + used * np.arange(count + 1)


@dataclass(frozen=True)
class BoxStatistics:
    """Means over the valid pixels of boxes; 0 in a box without any.

    Args:
        valid: (N,) share of valid pixels, 0 to 1.
        entropy: (N,) entropy of the class probabilities, 0 to 1: divided by that of equal probabilities.
        shares: (N, K) probability of each class: its expected share.
        squares: (N, K) square of that probability.
    """

    valid: NDArray[np.float64]
    entropy: NDArray[np.float64]
    shares: NDArray[np.float64]
    squares: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.valid)

    @property
    def spreads(self) -> NDArray[np.float64]:
        """(N, K) standard deviation of the probability of each class within the box."""
        return np.sqrt(np.maximum(self.squares - self.shares**2, 0))

    @property
    def doubts(self) -> NDArray[np.float64]:
        """(N, K) mean of p * (1 - p) of each class: the classes that the model confuses have the largest."""
        return np.maximum(self.shares - self.squares, 0)

    def of(self, boxes: NDArray[np.intp]) -> "BoxStatistics":
        """Those of some of the boxes."""
        return BoxStatistics(self.valid[boxes], self.entropy[boxes], self.shares[boxes], self.squares[boxes])

    @classmethod
    def joined(cls, parts: Sequence["BoxStatistics"]) -> "BoxStatistics":
        """The boxes of several rasters, one raster after the other."""
        return cls(*(np.concatenate(values) for values in zip(*(vars(each).values() for each in parts), strict=True)))

    @classmethod
    def of_probabilities(cls, p: NDArray[np.float64], valid: NDArray[np.bool_]) -> "BoxStatistics":
        """Of the class probabilities (N, P, K) of P pixels of each box, and which of them are valid (N, P)."""
        sums = [np.where(valid, each, 0).sum(1) for each in _numbers(np.moveaxis(p, -1, 0), valid)]
        return _means(np.stack(sums), np.full(len(p), p.shape[1]))


class BoxSurvey:
    """Sums over the pixels of boxes, from logits that come window by window; it never holds more than one window."""

    def __init__(self, grid: BoxGrid, classes: int, temperature: float) -> None:
        self.grid = grid
        self._temperature = temperature
        self._sums = np.zeros((2 * classes + 2, *grid.shape))

    def observe(self, logits: torch.Tensor, valid: torch.Tensor, window: Window) -> None:
        """Add the blended logits (K, h, w) and validity (h, w) of a window; a `LogitsObserver`."""
        rows = _parts(self.grid.row_edges, window.row_off, window.row_stop)
        cols = _parts(self.grid.col_edges, window.col_off, window.col_stop)
        if rows is None or cols is None:
            return
        inside = rows.pixels, cols.pixels
        p = torch.softmax(logits[:, *inside].float() / self._temperature, 0).cpu().numpy()
        counted = valid[inside].cpu().numpy()
        place = rows.boxes, cols.boxes
        for total, values in zip(self._sums, _numbers(p, counted), strict=True):
            masked = np.where(counted, values, 0)
            by_row = np.add.reduceat(masked, rows.starts, axis=0, dtype=np.float64)
            total[place] += np.add.reduceat(by_row, cols.starts, axis=1)

    def statistics(self) -> BoxStatistics:
        """Of all boxes, in the order of their numbers."""
        sides = np.diff(self.grid.row_edges)[:, None] * np.diff(self.grid.col_edges)
        return _means(self._sums.reshape(len(self._sums), -1), sides.ravel())


@dataclass(frozen=True)
class _Parts:
    """What of a row of boxes lies in a range of pixels.

    Args:
        pixels: of the range that lie in a box.
        starts: where a box begins among these pixels.
        boxes: their numbers.
    """

    pixels: slice
    starts: NDArray[np.int64]
    boxes: slice


def _parts(edges: NDArray[np.int64], start: int, stop: int) -> _Parts | None:
    """None if no box lies in the range."""
    low, high = max(start, int(edges[0])), min(stop, int(edges[-1]))
    if low >= high:
        return None
    first, last = (int(np.searchsorted(edges, each, "right")) - 1 for each in (low, high - 1))
    starts = np.maximum(edges[first : last + 1], low) - low
    return _Parts(slice(low - start, high - start), starts, slice(first, last + 1))


def _numbers(p: NDArray[np.floating], valid: NDArray[np.bool_]) -> list[NDArray[np.floating]]:
    """What is summed over pixels of probabilities (K, ...): 1, entropy (0 to 1), each probability and its square."""
    most = np.log(max(2, len(p)))
    entropy = -(p * np.log(np.maximum(p, np.finfo(np.float32).tiny))).sum(0) / most
    return [np.ones_like(entropy), entropy, *p, *p**2]


def _means(sums: NDArray[np.float64], pixels: NDArray[np.int64]) -> BoxStatistics:
    """Statistics from sums (2 K + 2, N) over boxes of so many pixels."""
    count, classes = sums[0], len(sums) // 2 - 1
    means = sums[1:] / np.maximum(count, 1)
    return BoxStatistics(count / pixels, means[0], means[1 : classes + 1].T, means[classes + 1 :].T)
