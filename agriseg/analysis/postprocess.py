"""Clean-up of a mask: majority filter, and a minimum mapping unit.

Both have a limited reach in pixels, so the result does not depend on the strips in which the map is read.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agriseg.analysis.components import Components, run_blocks
from agriseg.errors import DataError, UsageError
from agriseg.legend import NODATA
from agriseg.maps.reader import ROWS, MapStrip, MaskSource, SameGrid
from agriseg.maps.unsure import DecidedMap
from agriseg.storage.base import FolderStorage
from agriseg.storage.blocks import BlockLayer, BlockStore

SMALLEST_OBJECT = 9
"""Pixels of the smallest object that a ground sample distance shows: three by three."""
MAX_SMOOTH = 64
"""Pixels from the middle of the largest window to its edge."""
MAX_REACH = 256
"""Pixels; how far away at most a pixel's new class may come from."""

_SIDE = 512  # px of a square that is worked on at once; what it takes stays in a processor's cache


@dataclass(frozen=True)
class CleanedMap(SameGrid):
    """A map with a cleaned mask; a `MaskSource`. Nodata and unsure pixels and confidence are unchanged.

    `layer` is the mask, (1, h, width) by rows, as `raster.cog.write_cog` takes it; `notes` are warnings for a reader.
    """

    layer: BlockLayer
    notes: tuple[str, ...] = ()

    def strips(self, rows: int = ROWS) -> Iterator[MapStrip]:
        """From top to bottom, `rows` at a time."""
        return map(self._cleaned, self.source.strips(rows))

    def read(self, start: int, stop: int) -> MapStrip:
        """Rows `[start, stop)`."""
        return self._cleaned(self.source.read(start, stop))

    def _cleaned(self, strip: MapStrip) -> MapStrip:
        mask = self.layer.read(strip.rows.start, strip.rows.stop)[0]
        if self.legend.unsure is not None:
            mask = np.where(strip.mask == self.legend.unsure, strip.mask, mask)
        return MapStrip(strip.row_off, mask, strip.confidence)


def clean(source: MaskSource, folder: Path, mmu_m2: float = 0, smooth_px: int = 0, rows: int = ROWS) -> CleanedMap:
    """Smooth a mask, then merge its small patches into their neighbours.

    Smoothing: a pixel takes the class that most valid pixels of the square window around it have, itself among them;
    where two classes have as many it keeps its own.

    Minimum mapping unit: a pixel of a smaller patch takes the class of the nearest pixel of a larger one, by the
    distance on the ground between their centres; at equal distance, that of the nearest column, then the left one, then
    the upper one. The search goes as far as twice the side of a square of one unit, also across nodata, at most
    `MAX_REACH` pixels; a pixel without a result keeps its class. So a patch far from all large ones stays, and
    a remainder behind nodata may be small.

    Unsure pixels stay unsure and no other becomes so: they have no class, so they count here as nodata.

    Args:
        folder: exists, and holds the mask while it is in use, of no other `clean`; up to three bytes a pixel.
        mmu_m2: minimum mapping unit in square metres on the ground; 0 for none.
        smooth_px: from the middle of the window to its edge, so 1 is a window of 3 x 3; 0 for none.

    Raises:
        UsageError: a negative number, a window beyond `MAX_SMOOTH`, or nothing to do.
        DataError: a minimum mapping unit where the ground is unknown, or more patches than can be listed.
        StorageError: the disk is full.
    """
    _check(mmu_m2, smooth_px)
    bands, size = {"smooth": 1, "large": 1, "clean": 1}, (source.height, source.width)
    store = BlockStore.create(FolderStorage(folder), bands, *size, block_rows=512, block_offset=0)
    decided = DecidedMap(source)
    smooth: MaskSource = decided
    if smooth_px:
        for start in range(0, source.height, rows):
            store.write("smooth", start, _smoothed(decided, start, min(start + rows, source.height), smooth_px)[None])
        if not mmu_m2:
            return CleanedMap(source, store.layer("smooth"))
        smooth = CleanedMap(decided, store.layer("smooth"))
    notes = _without_small(smooth, store, mmu_m2, rows)
    return CleanedMap(source, store.layer("clean"), notes)


def _check(mmu_m2: float, smooth_px: int) -> None:
    if not (math.isfinite(mmu_m2) and mmu_m2 >= 0):
        raise UsageError(f"a minimum mapping unit of {mmu_m2} m2, expected 0 or more; give --mmu 0.25m2")
    if not 0 <= smooth_px <= MAX_SMOOTH:
        raise UsageError(f"smoothing over {smooth_px} px to each side, expected 0 to {MAX_SMOOTH}; give a smaller one")
    if not (mmu_m2 or smooth_px):
        raise UsageError("nothing to clean; give --mmu 0.25m2, --smooth, or both")


def _smoothed(source: MaskSource, start: int, stop: int, reach: int) -> NDArray[np.uint8]:
    """Rows of the mask by majority."""
    top = max(0, start - reach)
    mask = source.read(top, min(stop + reach, source.height)).mask
    out = mask[start - top : stop - top].copy()
    for rows, cols in _squares(*out.shape):
        high, wide = _wider(slice(rows.start + start - top, rows.stop + start - top), reach), _wider(cols, reach)
        around = mask[high, wide]
        if around.min() != around.max():
            above, left = rows.start + start - top - high.start, cols.start - wide.start
            won = _majority(around, reach)
            out[rows, cols] = won[above : above + rows.stop - rows.start, left : left + cols.stop - cols.start]
    return out


def _squares(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of squares that cover some rows of a map."""
    for top, left in product(range(0, height, _SIDE), range(0, width, _SIDE)):
        yield slice(top, min(top + _SIDE, height)), slice(left, min(left + _SIDE, width))


def _majority(mask: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """The class that has more votes than any other in the window around each pixel, or the pixel's own."""
    most, winner = np.zeros(mask.shape, np.int16), mask.copy()
    for class_id in np.flatnonzero(np.bincount(mask.ravel(), minlength=NODATA)[:NODATA]):
        votes = _box_sum(_box_sum(mask == class_id, reach).T, reach).T
        np.copyto(winner, mask, where=votes == most)
        np.copyto(winner, np.uint8(class_id), where=votes > most)
        np.maximum(most, votes, out=most)
    np.copyto(winner, mask, where=mask == NODATA)
    return winner


def _box_sum(values: NDArray[np.bool_] | NDArray[np.int16], reach: int) -> NDArray[np.int16]:
    """Sum over `reach` rows above and below; total sums may wrap round, the differences are below 2^15."""
    total = np.zeros((len(values) + 1, values.shape[1]), np.int16)
    np.cumsum(values, axis=0, dtype=np.int16, out=total[1:])
    place = np.arange(len(values))
    return np.asarray(total[np.minimum(place + reach + 1, len(values))] - total[np.maximum(place - reach, 0)])


def _without_small(smooth: MaskSource, store: BlockStore, mmu_m2: float, rows: int) -> tuple[str, ...]:
    """Write the layer `large`, nodata in small patches, and from it the layer `clean`; returns warnings."""
    scale = smooth.georeference.gsd(smooth.width, smooth.height)
    patches = Components.of(smooth, rows)
    if scale is None or patches.square_metres is None:
        raise DataError(f"a minimum mapping unit of {mmu_m2} m2, but the map's ground is unknown; leave out --mmu")
    small = np.append(patches.square_metres < mmu_m2, False)
    of_piece = np.append(patches.of_piece, -1)
    for part in run_blocks(smooth, rows):
        in_small = part.paint(small[of_piece[part.piece]])
        store.write("large", part.strip.row_off, np.where(in_small, np.uint8(NODATA), part.strip.mask)[None])
    reach_m = 2 * math.sqrt(mmu_m2)
    for strip in smooth.strips(rows):
        store.write("clean", strip.row_off, _filled(strip, store, scale, reach_m)[None])
    return _notes(patches, small[:-1], mmu_m2)


def _notes(patches: Components, small: NDArray[np.bool_], mmu_m2: float) -> tuple[str, ...]:
    notes = []
    areas = patches.square_metres
    if areas is not None and len(patches) and mmu_m2 < SMALLEST_OBJECT * (pixel := areas.sum() / patches.pixels.sum()):
        notes.append(
            f"a minimum mapping unit of {mmu_m2:g} m2 is below {SMALLEST_OBJECT} pixels, "
            f"{SMALLEST_OBJECT * pixel:.3g} m2: the smallest object that these pixels show"
        )
    if len(patches) and small.all():
        notes.append(f"no patch has the minimum mapping unit of {mmu_m2:g} m2, so no patch was merged")
    return tuple(notes)


def _filled(strip: MapStrip, store: BlockStore, scale: tuple[float, float], reach_m: float) -> NDArray[np.uint8]:
    """Rows of the mask in which pixels of small patches have the class of the nearest large one."""
    up, side = (min(MAX_REACH, int(reach_m / metres)) for metres in (scale[1], scale[0]))
    start, stop = strip.rows.start, strip.rows.stop
    top = max(0, start - up)
    large: NDArray[np.uint8] = store.read("large", top, min(stop + up, store.height))[0]
    small = strip.mask != large[start - top : stop - top]
    out = strip.mask.copy()
    for rows, cols in _squares(*out.shape):
        row, col = np.nonzero(small[rows, cols])
        if len(row):
            row, col = row + rows.start, col + cols.start
            high = _wider(slice(row[0] + start - top, row[-1] + 1 + start - top), up)
            wide = _wider(slice(col.min(), col.max() + 1), side)
            place = row + start - top - high.start, col - wide.start
            class_id = _nearest(large[high, wide], *place, scale, reach_m, (up, side))
            reached = class_id != NODATA
            out[row[reached], col[reached]] = class_id[reached]
    return out


def _wider(place: slice, reach: int) -> slice:
    """A stretch of pixels with more on both sides."""
    return slice(max(0, place.start - reach), place.stop + reach)


def _nearest(
    large: NDArray[np.uint8], row: NDArray[np.int64], col: NDArray[np.int64], scale: tuple[float, float],
    reach_m: float, reach_px: tuple[int, int],
) -> NDArray[np.uint8]:  # fmt: skip
    """Class of the pixel nearest to each of some pixels, nodata where none is within reach.

    The nearest in each column first, then column by column outwards until none can be nearer. Rows beyond `reach_px`
    do not count even where they are at hand: which are depends on the strip.
    """
    (height, width), (up, side) = large.shape, reach_px
    known = large != NODATA
    place, far = np.arange(height, dtype=np.int32)[:, None], np.int32(2 * (height + MAX_REACH))
    above = np.maximum.accumulate(np.where(known, place, -far), axis=0)
    below = np.minimum.accumulate(np.where(known, place, far)[::-1], axis=0)[::-1]
    source = np.where(place - above <= below - place, above, below)  # row of the nearest in the column
    best = np.full(len(row), np.nextafter(reach_m**2, np.inf))
    class_id = np.full(len(row), NODATA, np.uint8)
    waiting = np.arange(len(row))
    for step in range(side + 1):
        waiting = waiting[(step * scale[0]) ** 2 < best[waiting]]
        for aside in (-step, step) if step else (0,):
            beside = waiting[(col[waiting] + aside >= 0) & (col[waiting] + aside < width)]
            nearest = source[row[beside], col[beside] + aside]
            square = (step * scale[0]) ** 2 + ((nearest - row[beside]) * scale[1]) ** 2
            nearer = (square < best[beside]) & (abs(nearest - row[beside]) <= up)
            taken = beside[nearer]
            best[taken] = square[nearer]
            class_id[taken] = large[nearest[nearer], col[taken] + aside]
    return class_id
