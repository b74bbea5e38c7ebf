"""Hectares per class, measured on the ground row by row."""

import numpy as np
from numpy.typing import NDArray

from agriseg.raster.ground import pixel_areas
from agriseg.raster.info import Georeference

_SQUARE_METRES = 10_000.0  # per hectare


def hectares(where: Georeference, width: int, height: int) -> float | None:
    """Hectares under a raster of `width` x `height` pixels; None where the ground is unknown."""
    areas = pixel_areas(where.crs, where.transform, width, range(height))
    return None if areas is None else float(areas.sum() * width / _SQUARE_METRES)


class AreaAccount:
    """Adds up class pixels and their ground area as rows come in.

    Args:
        where: georeference of the map.
        width: pixels of a row.
        classes: number of classes K.
    """

    def __init__(self, where: Georeference, width: int, classes: int) -> None:
        self._where, self._width = where, width
        self.pixels = np.zeros(classes, np.int64)
        self._square_metres: NDArray[np.float64] | None = np.zeros(classes)

    def add(self, row_off: int, class_pixels: NDArray[np.int64]) -> None:
        """Add rows of the map.

        Args:
            row_off: first row, in the map.
            class_pixels: (h, K) pixels of each class in each row.
        """
        self.pixels += class_pixels.sum(0)
        rows = range(row_off, row_off + len(class_pixels))
        areas = pixel_areas(self._where.crs, self._where.transform, self._width, rows)
        if areas is None or self._square_metres is None:
            self._square_metres = None
        else:
            self._square_metres += areas @ class_pixels

    @property
    def hectares(self) -> NDArray[np.float64] | None:
        """(K,) hectares per class; None where the ground is unknown."""
        return None if self._square_metres is None else self._square_metres / _SQUARE_METRES
