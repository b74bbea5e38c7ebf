"""An image with its labels, read by windows that may exceed it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from agriseg.files import storage_error
from agriseg.grid import Window
from agriseg.labels.raster import LabelRaster
from agriseg.legend import NODATA
from agriseg.raster.reader import Reader, Source

_BLOCK = 256  # side of a cached block (px)


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
    """An image at its own resolution, and its labels on the same grid.

    Args:
        mean: stored numbers of the image, mean per band; None where no model asks for it.
    """

    def __init__(self, source: Source, labels: LabelRaster, mean: tuple[float, ...] | None = None) -> None:
        self.source = source
        self.labels = labels
        self.mean = mean
        self._stored: Any = None  # pixels, valid and ids by name: arrays in memory, or a zarr group

    @property
    def bytes(self) -> int:
        """Size in memory (bytes)."""
        return self.source.width * self.source.height * (len(self.source.bands) * self.source.item_bytes + 2)

    def decode_cost(self, side: int) -> float:
        """Decoded pixels per pixel of a chip of this side (px), without memory or cache."""
        sizes = self.source.height, self.source.width
        stored = self.source.info.block if self.source.info.driver == "GTiff" else sizes  # PNG, JPEG: from the top
        touched = [
            min(-(-side // block) + 1, -(-size // block)) * block for block, size in zip(stored, sizes, strict=True)
        ]
        return touched[0] * touched[1] / side**2

    def load_into_memory(self) -> None:
        """Read the scene once and keep it in memory."""
        self._stored = vars(self.all())

    def cache_on_disk(self, folder: Path, identity: str) -> None:
        """Read the scene once and keep it in a zarr store of small blocks; one of this identity is reused.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            if folder.exists() and zarr.open_group(folder).attrs.get("complete") == identity:
                self._stored = zarr.open_group(folder, mode="r")
                return
            shutil.rmtree(folder, ignore_errors=True)
            group = zarr.create_group(folder)
            self._fill(group)
            group.attrs["complete"] = identity
        except OSError as error:
            raise storage_error(folder, error) from error
        self._stored = group

    def all(self) -> Chip:
        """The whole scene."""
        return self._inside(Window(0, 0, self.source.width, self.source.height))

    def windows(self) -> Iterator[Window]:
        """The whole scene in strips of bounded size."""
        return self.labels.windows()

    def read(self, top: int, left: int, height: int, width: int) -> Chip:
        """The pixels from row `top` and column `left` on, also beyond the raster.

        Raises:
            DataError: the image cannot be read, or the labels hold a number that is no class.
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
        if self._stored is None:
            return self._read(window)
        place = ..., slice(window.row_off, window.row_stop), slice(window.col_off, window.col_stop)
        return Chip(*(np.asarray(self._stored[name][place]) for name in ("pixels", "valid", "ids")))

    def _read(self, window: Window) -> Chip:
        with Reader(self.source) as reader:
            strip = reader.read(window)
        ids = self.labels.read(window)
        ids[~strip.valid] = NODATA
        return Chip(strip.pixels, strip.valid, ids)

    def _fill(self, group: zarr.Group) -> None:
        """Copy the scene into arrays of a new group."""
        shape, bands = (self.source.height, self.source.width), len(self.source.bands)
        sides, dtype = tuple(min(_BLOCK, side) for side in shape), self.source.info.dtype
        pixels = group.create_array("pixels", shape=(bands, *shape), chunks=(bands, *sides), dtype=dtype)
        valid = group.create_array("valid", shape=shape, chunks=sides, dtype="bool")
        ids = group.create_array("ids", shape=shape, chunks=sides, dtype="uint8")
        for window in self.windows():
            chip, rows = self._read(window), slice(window.row_off, window.row_stop)
            pixels[:, rows], valid[rows], ids[rows] = chip.pixels, chip.valid, chip.ids
