"""What clicks become in a window of the vegetation index."""

from dataclasses import dataclass

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes as outlines
from scipy import ndimage

from agriseg.grid import Window
from agriseg.growth.clicked import Points
from agriseg.growth.plant_growth import (
    Floats,
    GroundLevel,
    Growth,
    Mask,
    beside_outlines,
    discs,
    grow,
    on_green,
    sure_ground,
)

_DOUBT = 20.0  # px around a click without a plant, where nothing is sure to be ground


@dataclass(frozen=True)
class GrownSquare:
    """What clicks became in a square.

    Args:
        pixels: (N,) int64 of each click on a plant.
        green, shared: as in `GrownClicks`, numbered among the clicks near the square.
        outlines: shapes with their class.
    """

    pixels: NDArray[np.int64]
    green: Mask
    shared: frozenset[tuple[int, int]]
    outlines: list[tuple[shapely.Geometry, int]]


@dataclass(frozen=True)
class SquareGrowth:
    """What clicks became in a window.

    Args:
        ground: (h, w) bool bare ground.
        green: (G,) bool clicks on ground that lie on vegetation.
    """

    growth: Growth
    ground: Mask
    green: Mask

    @classmethod
    def of(
        cls, index: Floats, plants: Points, bare: Points, outlined: Mask, reach: float, level: GroundLevel
    ) -> "SquareGrowth":
        """Grow clicks on the index (h, w) of a window; `outlined` (h, w) is in an outlined plant."""
        growth = grow(index, plants.xy, plants.ids, reach, level)
        around = discs(index.shape, np.concatenate([plants.xy[growth.found], bare.xy]), reach)
        if outlined.any():
            around |= ndimage.distance_transform_edt(~outlined) <= reach
        around &= ~discs(index.shape, plants.xy[~growth.found], min(reach, _DOUBT))
        ground = sure_ground(index, (growth.owner >= 0) | outlined, around, level)
        if outlined.any():
            ground |= beside_outlines(index, outlined, level)
        return cls(growth, ground, on_green(index, bare.xy, level))

    def pixels(self, inner: tuple[slice, slice], count: int) -> NDArray[np.int64]:
        """(N,) pixels of the clicks in a part of the window."""
        owner = self.growth.owner[inner]
        return np.bincount(owner[owner >= 0], minlength=count)

    def outlines(
        self, inner: tuple[slice, slice], plants: NDArray[np.uint8], bare: int | None, core: Window
    ) -> list[tuple[shapely.Geometry, int]]:
        """Outlines in a part of the window, in pixels of the image, with their class: (N,) of plants, and of ground."""
        owner, ids = self.growth.owner[inner], np.zeros((core.height, core.width), np.uint8)
        ids[owner >= 0] = plants[owner[owner >= 0]]
        ground = self.ground[inner] & (owner < 0) & (bare is not None)
        ids[ground] = bare or 0
        place = rasterio.Affine.translation(core.col_off, core.row_off)
        drawn = outlines(ids, mask=(owner >= 0) | ground, connectivity=4, transform=place)
        return [(shapely.geometry.shape(shape), int(value)) for shape, value in drawn]
