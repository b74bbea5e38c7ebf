"""An image with its labels, read by windows that may reach beyond it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.legend import NODATA
from agriseg.raster.reader import Reader, Source
from agriseg.training.labels import Labels


@dataclass(frozen=True)
class Chip:
    """One piece of a scene.

    Args:
        pixels: (C, h, w) as stored, bands in the model's order; 0 beyond the raster.
        valid: (h, w) bool.
        ids: (h, w) uint8 class ids; 255 where unknown, not valid, or beyond the raster.
    """

    pixels: NDArray[np.generic]
    valid: NDArray[np.bool_]
    ids: NDArray[np.uint8]


class Scene:
    """An image and its labels on one grid.

    Args:
        source: the image, at its own resolution.
        labels: on the same grid.
    """

    def __init__(self, source: Source, labels: Labels) -> None:
        self.source = source
        self.labels = labels
        self._held: Chip | None = None

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.source.width * self.source.height * (len(self.source.bands) * self.source.item_bytes + 2)

    def hold(self) -> None:
        """Read it once and keep it in memory: pictures that can only be decoded as a whole."""
        self._held = self.all()

    def all(self) -> Chip:
        """The whole scene."""
        return self._inside(Window(0, 0, self.source.width, self.source.height))

    def read(self, top: int, left: int, height: int, width: int) -> Chip:
        """The pixels from row `top` and column `left` on, wherever that lies.

        Raises:
            DataError: it cannot be read, or holds labels that are no class.
        """
        bands, shape = len(self.source.bands), (height, width)
        padded = Chip(
            np.zeros((bands, *shape), self.source.info.dtype), np.zeros(shape, bool), np.full(shape, NODATA, np.uint8)
        )
        first_row, first_col = max(0, top), max(0, left)
        rows, cols = min(self.source.height, top + height) - first_row, min(self.source.width, left + width) - first_col
        if rows > 0 and cols > 0:
            inner = self._inside(Window(first_col, first_row, cols, rows))
            place = slice(first_row - top, first_row - top + rows), slice(first_col - left, first_col - left + cols)
            padded.pixels[(slice(None), *place)], padded.valid[place] = inner.pixels, inner.valid
            padded.ids[place] = inner.ids
        return padded

    def _inside(self, window: Window) -> Chip:
        if self._held is None:
            return self._read(window)
        rows, cols = slice(window.row_off, window.row_stop), slice(window.col_off, window.col_stop)
        held = self._held
        return Chip(held.pixels[:, rows, cols], held.valid[rows, cols], held.ids[rows, cols])

    def _read(self, window: Window) -> Chip:
        with Reader(self.source) as reader:
            strip = reader.read(window)
        ids = self.labels.read(window)
        ids[~strip.valid] = NODATA
        return Chip(strip.pixels, strip.valid, ids)
