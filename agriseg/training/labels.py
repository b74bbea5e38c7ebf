"""Label rasters: which class each pixel of an image belongs to, or that nobody knows (255)."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.grid import Window
from agriseg.legend import NODATA
from agriseg.raster.info import RasterInfo
from agriseg.raster.reader import Reader, Source
from agriseg.raster.validity import ValidityRule

Value = int | tuple[int, int, int]
Keep = Callable[[Window], NDArray[np.bool_]]

_AT_ONCE = 16_000_000  # pixels
_SHIFT = 0.01  # of a pixel, by which labels may lie beside their image


@dataclass(frozen=True)
class Labels:
    """A raster of labels on the grid of its image.

    Args:
        info: its header.
        values: for each class in order its stored number, or its red, green and blue.
        keep: which pixels of a window count; the others are 255. None keeps all.
    """

    info: RasterInfo
    values: tuple[Value, ...]
    keep: Keep | None = None

    @classmethod
    def of(cls, path: Path, values: Sequence[Value], keep: Keep | None = None) -> "Labels":
        """Open label raster `path`.

        Raises:
            DataError: its bands are not those of `values`: one band of integers, or red, green, blue.
        """
        info = RasterInfo.read(path)
        coloured = any(isinstance(value, tuple) for value in values)
        if np.dtype(info.dtype).kind not in "iu":
            raise DataError(
                f"{path}: labels of {info.dtype}, expected whole numbers; convert with gdal_translate -ot Byte"
            )
        if coloured and info.count < 3:
            raise DataError(
                f"{path}: {info.count} bands, but the classes are told by red, green and blue; give numbers"
            )
        if not coloured and info.count - len(info.alpha) > 1:
            raise DataError(
                f"{path}: {info.count} bands, expected one with class numbers; for a coloured picture give each "
                "class its red, green and blue"
            )
        return cls(info, tuple(values), keep)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (h, w) of a window; 255 where nobody knows, or where `keep` says so.

        Raises:
            DataError: a number that is no class; all of them are told by `unknown`.
        """
        ids, strange = self._decode(*self._stored(window))
        if strange.any():
            raise DataError(f"{self.info.path}: {window} has numbers that are no class; see agriseg labels check")
        if self.keep is not None:
            ids[~self.keep(window)] = NODATA
        return ids

    def windows(self) -> Iterator[Window]:
        """The whole raster in strips of bounded size."""
        rows = max(1, _AT_ONCE // self.info.width)
        for top in range(0, self.info.height, rows):
            yield Window(0, top, self.info.width, min(rows, self.info.height - top))

    def unknown(self) -> Counter[Value]:
        """Stored values that are no class, with their pixels."""
        found: Counter[Value] = Counter()
        for window in self.windows():
            stored, valid = self._stored(window)
            strange = self._decode(stored, valid)[1]
            kinds, counts = np.unique(stored[:, strange], axis=1, return_counts=True)
            for kind, count in zip(kinds.T.tolist(), counts.tolist(), strict=True):
                found[kind[0] if len(kind) == 1 else tuple(kind)] += count
        return found

    def _decode(
        self, stored: NDArray[np.generic], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Class ids with 255 where there is none, and where the stored value is no class."""
        ids = np.full(valid.shape, NODATA, np.uint8)
        known = ~valid if len(stored) > 1 else ~valid | (stored[0] == NODATA)
        for class_id, value in enumerate(self.values):
            hit = (stored == np.reshape(value, (-1, 1, 1))).all(0) & valid
            ids[hit] = class_id
            known |= hit
        return ids, ~known

    def _stored(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        bands = (1, 2, 3) if any(isinstance(value, tuple) for value in self.values) else (1,)
        source = Source(self.info, bands, ValidityRule.of(self.info), self.info.width, self.info.height)
        with Reader(source) as reader:
            strip = reader.read(window)
        return strip.pixels, strip.valid


def misfit(image: RasterInfo, labels: RasterInfo) -> str | None:
    """Why labels do not lie on their image's grid; None if they do. Photographs have no place on the ground."""
    if (image.width, image.height) != (labels.width, labels.height):
        return (
            f"{labels.path}: {labels.width} x {labels.height} px, but {image.path.name} has "
            f"{image.width} x {image.height}; --reproject-labels lays them there"
        )
    here, there = image.georeference, labels.georeference
    if here.crs is None or there.crs is None:
        return None
    if here.crs != there.crs:
        return (
            f"{labels.path}: CRS {there.crs.to_string()}, but {image.path.name} has {here.crs.to_string()}; "
            "--reproject-labels lays them there"
        )
    corners = [(0, 0), (image.width, image.height)]
    moved = [(~here.transform) @ (there.transform @ corner) for corner in corners]
    shift = max(
        abs(a - b) for corner, place in zip(corners, moved, strict=True) for a, b in zip(corner, place, strict=True)
    )
    if shift > _SHIFT:
        return f"{labels.path}: lies {shift:.2f} px beside {image.path.name}; --reproject-labels lays them there"
    return None
