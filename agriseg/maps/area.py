"""Pixels and ground area per class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.raster.georeference import Georeference
from agriseg.units import HECTARE


def hectares(where: Georeference, width: int, height: int) -> float | None:
    """Hectares under a raster of `width` x `height` pixels; None where the ground is unknown."""
    areas = where.pixel_areas(width, range(height))
    return None if areas is None else float(areas.sum() * width / HECTARE)


@dataclass(frozen=True)
class Area:
    """Pixels and ground area of each class in some rows of a map.

    Args:
        pixels: (K,).
        square_metres: (K,) on the ground; None where that is unknown.
    """

    pixels: NDArray[np.int64]
    square_metres: NDArray[np.float64] | None

    @classmethod
    def of_rows(cls, where: Georeference, width: int, row_off: int, class_pixels: NDArray[np.int64]) -> "Area":
        """Measure rows.

        Args:
            where: georeference of the map.
            width: pixels of a row.
            row_off: first row, in the map.
            class_pixels: (h, K) pixels of each class in each row.
        """
        areas = where.pixel_areas(width, range(row_off, row_off + len(class_pixels)))
        return cls(class_pixels.sum(0), None if areas is None else areas @ class_pixels)

    def __add__(self, other: "Area") -> "Area":
        mine, others = self.square_metres, other.square_metres
        return Area(self.pixels + other.pixels, None if mine is None or others is None else mine + others)

    @property
    def hectares(self) -> NDArray[np.float64] | None:
        """(K,) hectares per class; None where the ground is unknown."""
        return None if self.square_metres is None else self.square_metres / HECTARE
