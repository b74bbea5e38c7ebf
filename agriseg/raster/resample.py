"""Resampling along one axis, the same for every window.

GDAL's own resampling depends on the window in the last bits. Here each output pixel is a sum over a fixed list of
source pixels in a fixed order: the area average when pixels grow, bilinear when they shrink, of valid pixels only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_VALID = 0.5
"""Share of a resampled pixel that must be covered by data for it to be data."""


@dataclass(frozen=True)
class ResampleWeights:
    """Which source pixels make the output pixels `[start, stop)` of an axis, and with what weight.

    Args:
        source_size: pixels of the source axis.
        size: pixels of the output axis; both cover the same ground.
        start, stop: output pixels wanted.
    """

    source_size: int
    size: int
    start: int
    stop: int

    @property
    def ratio(self) -> float:
        """Source pixels per output pixel."""
        return self.source_size / self.size

    def table(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Source index (n, taps), and weight (n, taps) float64 with rows that sum to one."""
        pixels = np.arange(self.start, self.stop, dtype=np.float64)
        if self.ratio >= 1:
            left, right = pixels * self.ratio, (pixels + 1) * self.ratio
            index = np.floor(left)[:, None] + np.arange(int(np.ceil(self.ratio)) + 1)
            cover = np.minimum(index + 1, right[:, None]) - np.maximum(index, left[:, None])
            weight = np.clip(cover, 0, None) / self.ratio
        else:
            centre = (pixels + 0.5) * self.ratio - 0.5
            index = np.floor(centre)[:, None] + np.arange(2)
            share = centre - np.floor(centre)
            weight = np.stack([1 - share, share], axis=1)
        return np.clip(index, 0, self.source_size - 1).astype(np.intp), weight

    @property
    def span(self) -> tuple[int, int]:
        """Source pixels needed, half-open."""
        index, _ = self.table()
        return int(index.min()), int(index.max()) + 1


def resample(
    pixels: NDArray[np.generic], valid: NDArray[np.bool_], rows: ResampleWeights, cols: ResampleWeights
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Resample a source window, pixels (C, h, w) and valid (h, w), whose place is `rows.span` and `cols.span`.

    Returns:
        (C, n, m) float32, the mean over valid pixels, and (n, m) bool, True where they cover half or more.
    """
    known = valid.astype(np.float64)
    sums = np.where(valid, pixels, 0).astype(np.float64)
    sums = _along(_along(sums, rows, axis=1), cols, axis=2)
    share = _along(_along(known[None], rows, axis=1), cols, axis=2)[0]
    mean = np.divide(sums, share, out=np.zeros_like(sums), where=share > 0)
    return mean.astype(np.float32), share >= LEAST_VALID - 1e-9


def _along(array: NDArray[np.float64], taps: ResampleWeights, axis: int) -> NDArray[np.float64]:
    """Weighted sum along one axis of (C, h, w), tap by tap, so that the order of the sum is fixed."""
    index, weight = taps.table()
    index = index - taps.span[0]
    shape = (1, -1, 1) if axis == 1 else (1, 1, -1)
    total = np.zeros(1)
    for tap in range(index.shape[1]):
        total = total + np.take(array, index[:, tap], axis=axis) * weight[:, tap].reshape(shape)
    return total
