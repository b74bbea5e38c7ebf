"""Zonal statistics of each class, of a whole map or of polygons: pixels, area, confidence, doubtful area."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from agriseg.legend import CONFIDENCE_STEP, DOUBTFUL, NODATA
from agriseg.maps.reader import MapStrip, MaskSource
from agriseg.vectors.features import moved

_SURE = round(DOUBTFUL / CONFIDENCE_STEP)


@dataclass(frozen=True)
class ZonalStats:
    """Counts of each class in a zone.

    Args:
        pixels: (K,) int64 of each class.
        square_metres: (K,) on the ground; None where that is unknown.
        confidence: (K,) sum over its pixels, 0 to 1 each.
        doubtful: (K,) square metres with a confidence below 0.7; pixels where the ground is unknown.
        covered: pixels of the zone in the raster, valid or not.
    """

    pixels: NDArray[np.int64]
    square_metres: NDArray[np.float64] | None
    confidence: NDArray[np.float64]
    doubtful: NDArray[np.float64]
    covered: int

    @classmethod
    def none(cls, classes: int, *, ground: bool) -> Self:
        """Zeros."""
        return cls(
            np.zeros(classes, np.int64), np.zeros(classes) if ground else None, np.zeros(classes), np.zeros(classes), 0
        )

    @classmethod
    def of(
        cls, mask: NDArray[np.uint8], confidence: NDArray[np.uint8], areas: NDArray[np.float64] | None, classes: int
    ) -> Self:
        """Count rows.

        Args:
            mask: (h, w) class ids, 255 where nothing is to be counted.
            confidence: (h, w) in steps of 0.004.
            areas: (h,) square metres of a pixel of each row, or None.
            classes: number of them, K.
        """
        weights = np.ones(len(mask)) if areas is None else areas
        present = [k for k in range(classes) if (mask == k).any()] if mask.size else []
        stats = cls.none(classes, ground=areas is not None)
        doubt = confidence < _SURE
        for k in present:
            member = mask == k
            in_row = member.sum(1, dtype=np.int64)
            stats.pixels[k] = in_row.sum()
            stats.confidence[k] = np.einsum("hw,hw->", member, confidence, dtype=np.float64) * CONFIDENCE_STEP
            stats.doubtful[k] = weights @ (member & doubt).sum(1, dtype=np.int64)
            if stats.square_metres is not None:
                stats.square_metres[k] = weights @ in_row
        return stats

    def __add__(self, other: Self) -> Self:
        mine, others = self.square_metres, other.square_metres
        return type(self)(
            self.pixels + other.pixels, None if mine is None or others is None else mine + others,
            self.confidence + other.confidence, self.doubtful + other.doubtful, self.covered + other.covered,
        )  # fmt: skip


def zonal_stats(source: MaskSource, classes: int, shapes: Sequence[shapely.Geometry] | None = None) -> list[ZonalStats]:
    """Count a map.

    A pixel belongs to each polygon that its centre lies in; polygons may overlap, and each has its own count.

    Args:
        source: the map.
        classes: number of them.
        shapes: polygons in the map's CRS; None for the map as a whole.

    Returns:
        Counts of each polygon, or of the whole map.
    """
    whole = shapes is None
    grounds = [None] if shapes is None else [_PolygonMask.of(shape, source.georeference.transform) for shape in shapes]
    counted: list[ZonalStats] | None = None
    for strip in source.strips():
        areas = source.areas(strip.rows)
        if counted is None:
            counted = [ZonalStats.none(classes, ground=areas is not None) for _ in grounds]
        if whole:
            counted[0] += _with_cover(ZonalStats.of(strip.mask, strip.confidence, areas, classes), strip.mask.size)
            continue
        for index, ground in enumerate(grounds):
            if ground is not None and (part := ground.count(strip, areas, classes)) is not None:
                counted[index] += part
    return counted or []


@dataclass(frozen=True)
class _PolygonMask:
    """A polygon in pixels of the map, with its bounding box."""

    shape: shapely.Geometry
    bounds: tuple[float, float, float, float]

    @classmethod
    def of(cls, shape: shapely.Geometry, transform: rasterio.Affine) -> "_PolygonMask":
        pixels = moved(shape, ~transform)
        return cls(pixels, tuple(shapely.bounds(pixels).tolist()))

    def count(self, strip: MapStrip, areas: NDArray[np.float64] | None, classes: int) -> ZonalStats | None:
        """What of a strip lies in it; None if nothing can."""
        height, width = strip.mask.shape
        left, top, right, bottom = self.bounds
        cols = slice(max(0, int(np.floor(left))), min(width, int(np.ceil(right))))
        first = max(0, int(np.floor(top)) - strip.row_off)
        rows = slice(first, min(height, int(np.ceil(bottom)) - strip.row_off))
        if rows.start >= rows.stop or cols.start >= cols.stop:
            return None
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        here = rasterio.Affine.translation(cols.start, strip.row_off + rows.start)
        inside = rasterize([self.shape], shape, transform=here, dtype="uint8").astype(bool)
        mask = np.where(inside, strip.mask[rows, cols], NODATA).astype(np.uint8)
        stats = ZonalStats.of(mask, strip.confidence[rows, cols], None if areas is None else areas[rows], classes)
        return _with_cover(stats, int(inside.sum()))


def _with_cover(stats: ZonalStats, covered: int) -> ZonalStats:
    return ZonalStats(stats.pixels, stats.square_metres, stats.confidence, stats.doubtful, covered)
