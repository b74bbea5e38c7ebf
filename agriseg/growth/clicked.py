"""Clicks and outlined plants of an image, in its pixels."""

from dataclasses import dataclass

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from agriseg.grid import Window
from agriseg.growth.plant_growth import Mask


@dataclass(frozen=True)
class Points:
    """Clicks of an image.

    Args:
        xy: (N, 2) in pixels: x to the right, y down, (0, 0) the outer corner of the first pixel.
        ids: (N,) uint8 class of each.
    """

    xy: NDArray[np.float64]
    ids: NDArray[np.uint8]

    @property
    def key(self) -> tuple[bytes, bytes]:
        """The same for the same clicks alone."""
        return self.xy.tobytes(), self.ids.tobytes()

    def some(self, chosen: NDArray[np.generic]) -> "Points":
        """Those chosen by a mask or by numbers."""
        return Points(self.xy[chosen], self.ids[chosen])

    def seen_from(self, window: Window) -> "Points":
        """The same in pixels of a window."""
        return Points(self.xy - (window.col_off, window.row_off), self.ids)


@dataclass(frozen=True)
class Outlined:
    """Plants of an image that are outlined: (P,) polygons in its pixels."""

    shapes: NDArray[np.object_]

    @property
    def key(self) -> tuple[bytes, ...]:
        """The same for the same outlines alone."""
        return tuple(shapely.to_wkb(self.shapes))

    def some(self, chosen: Mask) -> "Outlined":
        """Those of a mask."""
        return Outlined(self.shapes[chosen])

    @property
    def corners(self) -> NDArray[np.float64]:
        """(P, 2) x and y of a point of each outline, beside the plant and the ground around it."""
        return np.array([shapely.get_coordinates(each)[0] for each in self.shapes]).reshape(-1, 2)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(P, 4) left, top, right and bottom."""
        return np.asarray(shapely.bounds(self.shapes), np.float64).reshape(-1, 4)

    def mask(self, window: Window) -> Mask:
        """(h, w) bool: pixels of a window whose centre is in one of them."""
        left, top, right, bottom = self.bounds.T
        near = (left < window.col_stop) & (right > window.col_off) & (top < window.row_stop) & (bottom > window.row_off)
        shape, place = (window.height, window.width), rasterio.Affine.translation(window.col_off, window.row_off)
        if not near.any():
            return np.zeros(shape, bool)
        return np.asarray(rasterize(self.shapes[near], out_shape=shape, transform=place, dtype="uint8"), bool)
