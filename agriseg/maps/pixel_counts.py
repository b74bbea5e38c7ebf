"""Pixels and ground area of a map: each pixel is predicted, nodata or failed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.legend import Legend
from agriseg.maps.record import ClassCount, PixelTotals
from agriseg.raster.georeference import Georeference
from agriseg.units import HECTARE


def hectares(where: Georeference, width: int, height: int) -> float | None:
    """Hectares under a raster of `width` x `height` pixels; None where the ground is unknown."""
    areas = where.pixel_areas(width, range(height))
    return None if areas is None else float(areas.sum() * width / HECTARE)


@dataclass(frozen=True)
class Area:
    """Pixels (K,) and square metres (K,) of each class in some rows of a map; None where the ground is unknown."""

    pixels: NDArray[np.int64]
    square_metres: NDArray[np.float64] | None

    @classmethod
    def of_rows(cls, where: Georeference, width: int, row_off: int, class_pixels: NDArray[np.int64]) -> "Area":
        """Measure rows from `row_off` on; `class_pixels` (h, K) are the pixels of each class in each row."""
        areas = where.pixel_areas(width, range(row_off, row_off + len(class_pixels)))
        return cls(class_pixels.sum(0), None if areas is None else areas @ class_pixels)

    def __add__(self, other: "Area") -> "Area":
        mine, others = self.square_metres, other.square_metres
        return Area(self.pixels + other.pixels, None if mine is None or others is None else mine + others)

    @property
    def hectares(self) -> NDArray[np.float64] | None:
        """(K,) hectares per class; None where the ground is unknown."""
        return None if self.square_metres is None else self.square_metres / HECTARE


@dataclass(frozen=True)
class PixelCounts:
    """Counts of some rows of a map, or of the whole map.

    Args:
        area: of each class of the map.
        network_pixels: (K,) pixels of each class as the network has it, also where the map is unsure.
        tiles: tiles that went through the network.
        doubtful: (K,) those of them with a confidence below 0.7.
        lost: windows of the map whose pixels could not be read; neighbouring windows may overlap.
    """

    area: Area
    network_pixels: NDArray[np.int64]
    tiles: int
    doubtful: NDArray[np.int64]
    lost: tuple[Window, ...]

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(
            self.area + other.area, self.network_pixels + other.network_pixels, self.tiles + other.tiles,
            self.doubtful + other.doubtful, self.lost + other.lost,
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
