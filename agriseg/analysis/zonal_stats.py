"""Zonal statistics of each class, of a whole map or of polygons: pixels, area, confidence, doubtful area."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
        pixels: (K,) int64.
        square_metres: (K,) on the ground; None where that is unknown.
        confidence: (K,) sum over the pixels, 0 to 1 each.
        doubtful: (K,) square metres with a confidence below 0.7; pixels where the ground is unknown.
        covered: pixels of the zone in the raster, valid or not.
    """

    pixels: NDArray[np.int64]
    square_metres: NDArray[np.float64] | None
    confidence: NDArray[np.float64]
    doubtful: NDArray[np.float64]
    covered: int


def zonal_stats(source: MaskSource, classes: int, shapes: Sequence[shapely.Geometry] | None = None) -> list[ZonalStats]:
    """Count each polygon in the map's CRS, or the whole map.

    A pixel belongs to each polygon that its centre lies in; polygons may overlap, and each has its own count.
    """
    zones: Sequence[shapely.Geometry | None] = [None]
    boxes = np.array([[0, 0, source.width, source.height]])
    if shapes is not None:
        zones = [moved(shape, ~source.georeference.transform) for shape in shapes]
        boxes = np.reshape([shapely.bounds(zone) for zone in zones], (-1, 4))
    sums, covered, known = np.zeros((len(zones), 4, classes)), np.zeros(len(zones), np.int64), True
    for strip in source.strips():
        areas = source.areas(strip.rows)
        known = areas is not None
        for index in np.flatnonzero((boxes[:, 1] < strip.rows.stop) & (boxes[:, 3] > strip.row_off)).tolist():
            here, inside = _within(zones[index], boxes[index], strip)
            weights = np.ones(len(inside)) if areas is None else areas[here[0]]
            mask = np.where(inside, strip.mask[here], np.uint8(NODATA))
            sums[index] += _sums(mask, strip.confidence[here], weights, classes)
            covered[index] += inside.sum()
    return [
        ZonalStats(each[0].astype(np.int64), each[1] if known else None, each[2], each[3], int(count))
        for each, count in zip(sums, covered, strict=True)
    ]


def _within(
    zone: shapely.Geometry | None, box: NDArray[np.float64], strip: MapStrip
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Rows and columns of a strip in the bounding box of a zone, and which of these pixels have their centre in it.

    Zone and box are in pixels of the map; without a zone all pixels of the box are in it.
    """
    left, top, right, bottom = box.tolist()
    height, width = strip.mask.shape
    rows = slice(max(0, math.floor(top) - strip.row_off), min(height, math.ceil(bottom) - strip.row_off))
    cols = slice(max(0, math.floor(left)), max(0, min(width, math.ceil(right))))
    shape = rows.stop - rows.start, max(0, cols.stop - cols.start)
    if zone is None or 0 in shape:
        return (rows, cols), np.ones(shape, bool)
    place = rasterio.Affine.translation(cols.start, strip.row_off + rows.start)
    return (rows, cols), rasterize([zone], shape, transform=place, dtype="uint8").astype(bool)


def _sums(
    mask: NDArray[np.uint8], confidence: NDArray[np.uint8], weights: NDArray[np.float64], classes: int
) -> NDArray[np.float64]:
    """(4, K) pixels, weight, confidence and doubtful weight of each class; `weights` (h,) are of a pixel of each row.

    Numbers of pixels are exact, they are far below 2^53.
    """
    sums = np.zeros((4, classes))
    doubt = confidence < _SURE
    for k in range(classes) if mask.size else ():
        member = mask == k
        if member.any():
            in_row = member.sum(1, dtype=np.int64)
            confident = np.einsum("hw,hw->", member, confidence, dtype=np.float64) * CONFIDENCE_STEP
            sums[:, k] = in_row.sum(), weights @ in_row, confident, weights @ (member & doubt).sum(1, dtype=np.int64)
    return sums
