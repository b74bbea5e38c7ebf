"""A map within boundaries: what lies outside of them is no data."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import rasterio
import shapely
from rasterio.features import rasterize

from agriseg.legend import NODATA
from agriseg.maps.reader import ROWS, MapStrip, SameGrid
from agriseg.vectors.features import moved


@dataclass(frozen=True)
class ClippedMap(SameGrid):
    """A map of which only the pixels count whose centres lie in a polygon; `MaskSource`.

    Args:
        shapes: polygons in its CRS; their holes are left out.
    """

    shapes: tuple[shapely.Geometry, ...]

    def strips(self, rows: int = ROWS) -> Iterator[MapStrip]:
        """From top to bottom, `rows` at a time."""
        return (self._within(strip) for strip in self.source.strips(rows))

    def read(self, start: int, stop: int) -> MapStrip:
        """Rows `[start, stop)`."""
        return self._within(self.source.read(start, stop))

    @cached_property
    def _in_pixels(self) -> list[shapely.Geometry]:
        return [moved(shape, ~self.georeference.transform) for shape in self.shapes]

    def _within(self, strip: MapStrip) -> MapStrip:
        shape, place = strip.mask.shape, rasterio.Affine.translation(0, strip.row_off)
        across = shapely.box(0, strip.rows.start, self.width, strip.rows.stop)
        here = [each for each in self._in_pixels if each.intersects(across)]
        inside = rasterize(here, shape, transform=place, dtype="uint8").astype(bool) if here else np.zeros(shape, bool)
        mask, confidence = (np.where(inside, each, NODATA).astype(np.uint8) for each in (strip.mask, strip.confidence))
        return MapStrip(strip.row_off, mask, confidence)
