"""The grid on which a map and its labels are compared: along each axis the finer of theirs.

A pixel of it takes the value of the map's pixel, and of the label, that contains its centre. So every pixel of the
finer one counts once, and nothing is shifted: taken on the coarser grid, half of the centres would lie on edges.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.raster.georeference import Georeference

Read = Callable[[Window], NDArray[np.uint8]]
"""Class ids (h, w) of a window, 255 where there is none."""
Size = tuple[int, int]
"""Width and height (px)."""


def pixels_at_centres(size: int, other: int, start: int, stop: int) -> NDArray[np.int64]:
    """Pixels of an axis of `size` at the centres of the pixels `[start, stop)` of an axis of `other` on that ground.

    A centre on an edge goes to the pixel after it for odd and before it for even pixels, so no side is preferred.
    """
    pixels = np.arange(start, stop, dtype=np.int64)
    index, rest = np.divmod((2 * pixels + 1) * size, 2 * other)
    return np.asarray(index - ((rest == 0) & (pixels % 2 == 0) & (index > 0)), np.int64)


def on_grid(read: Read, size: Size, grid: Size) -> Read:
    """A reader of windows of another grid on the same ground: nearest neighbour of what `read` returns for `size`."""
    if size == grid:
        return read

    def resampled(window: Window) -> NDArray[np.uint8]:
        cols = pixels_at_centres(size[0], grid[0], window.col_off, window.col_stop)
        rows = pixels_at_centres(size[1], grid[1], window.row_off, window.row_stop)
        left, top = int(cols.min()), int(rows.min())
        box = Window(left, top, int(cols.max()) + 1 - left, int(rows.max()) + 1 - top)
        return read(box)[np.ix_(rows - top, cols - left)]

    return resampled


@dataclass(frozen=True)
class CommonGrid:
    """The part of the finer grid that a map covers.

    Args:
        size: of the whole grid.
        window: the pixels whose centre lies in the map.
    """

    size: Size
    window: Window

    @classmethod
    def of(cls, labels: Size, working: Size, mapped: Window) -> "CommonGrid":
        """The grid for labels of a raster, and a map of the window `mapped` of its working grid."""
        size = max(labels[0], working[0]), max(labels[1], working[1])
        spans = []
        for axis, (start, stop) in enumerate([(mapped.col_off, mapped.col_stop), (mapped.row_off, mapped.row_stop)]):
            at = pixels_at_centres(working[axis], size[axis], 0, size[axis])
            spans.append(np.searchsorted(at, [start, stop]).tolist())
        (left, right), (top, bottom) = spans
        return cls(size, Window(left, top, right - left, bottom - top))

    def part(self, read: Read, size: Size) -> Read:
        """A reader of windows within `window`, of what `read` returns for the whole ground in `size`."""
        whole, corner = on_grid(read, size, self.size), self.window
        return lambda window: whole(
            Window(window.col_off + corner.col_off, window.row_off + corner.row_off, window.width, window.height)
        )

    def georeference(self, mapped: Georeference, working: Size, corner: tuple[int, int]) -> Georeference:
        """Of `window`, from that of a map whose first pixel is column and row `corner` of its working grid."""
        across, down = working[0] / self.size[0], working[1] / self.size[1]
        left, top = self.window.col_off * across - corner[0], self.window.row_off * down - corner[1]
        return mapped.shifted(left, top, across, down)
