"""Pixels and areas of a map: each pixel is predicted, nodata or failed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from agriseg.grid import Window
from agriseg.legend import Legend
from agriseg.maps.area import Area
from agriseg.maps.record import ClassCount, PixelTotals


@dataclass(frozen=True)
class PixelCounts:
    """Counts of some rows of a map, or of the whole map.

    Args:
        area: pixels and ground of each class.
        tiles: tiles that went through the network.
        doubtful: pixels with a confidence below 0.7.
        lost: windows of the map whose pixels could not be read; neighbouring windows may overlap.
    """

    area: Area
    tiles: int
    doubtful: int
    lost: tuple[Window, ...]

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(
            self.area + other.area, self.tiles + other.tiles, self.doubtful + other.doubtful, self.lost + other.lost
        )  # fmt: skip

    def pixels(self, total: int) -> PixelTotals:
        """Totals of a map of so many pixels."""
        predicted, failed = int(self.area.pixels.sum()), _covered(self.lost)
        return PixelTotals(total, predicted, total - predicted - failed, failed)

    def classes(self, legend: Legend) -> tuple[ClassCount, ...]:
        """Pixels and hectares of each class."""
        hectares = [None] * len(legend) if self.area.hectares is None else self.area.hectares.tolist()
        return tuple(
            ClassCount(entry.id, entry.name, int(self.area.pixels[entry.id]), hectares[entry.id]) for entry in legend
        )

    @property
    def lost_windows(self) -> tuple[tuple[int, int, int, int], ...]:
        """`lost` as column, row, width and height."""
        return tuple((each.col_off, each.row_off, each.width, each.height) for each in self.lost)

    @property
    def warnings(self) -> list[str]:
        """Warnings for the reader of the map."""
        if not self.lost:
            return []
        return [
            f"{_covered(self.lost):,} pixels could not be read and are no data on the map, in {len(self.lost)} places, "
            f"the first at {self.lost[0]}; copy the raster again and run with --overwrite"
        ]


def windows_from_json(listed: Iterable[Sequence[int]]) -> tuple[Window, ...]:
    """Windows from `PixelCounts.lost_windows`."""
    return tuple(Window(*each) for each in listed)


def _covered(parts: tuple[Window, ...]) -> int:
    """Number of pixels that the windows cover; overlaps count once."""
    if not parts:
        return 0
    # Corners of all windows cut the plane into cells that are wholly inside a window or outside.
    cols = np.unique([edge for part in parts for edge in (part.col_off, part.col_stop)])
    rows = np.unique([edge for part in parts for edge in (part.row_off, part.row_stop)])
    inside = np.zeros((len(rows) - 1, len(cols) - 1), bool)
    for part in parts:
        down = slice(*np.searchsorted(rows, (part.row_off, part.row_stop)))
        inside[down, slice(*np.searchsorted(cols, (part.col_off, part.col_stop)))] = True
    return int(np.diff(rows) @ inside @ np.diff(cols))
