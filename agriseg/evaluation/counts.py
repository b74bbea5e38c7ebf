"""Counts of a map against labels, over whole rasters, in strips of bounded size."""

from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.evaluation.common_grid import CommonGrid, Read, Size
from agriseg.evaluation.patches import BLOCK, PatchCounts, count_patches
from agriseg.grid import Window
from agriseg.labels.raster import LabelRaster, misfit
from agriseg.legend import CONFIDENCE_STEP, NODATA
from agriseg.maps.unsure import unsure_id
from agriseg.metrics import boundary_band, confusion
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader, Source
from agriseg.raster.valid_mask import ValidityRule

EDGE = 3
"""Width of the boundary band of boundary IoU (px)."""

_LEVELS = round(1 / CONFIDENCE_STEP) + 1


@dataclass(frozen=True)
class EvaluationCounts:
    """Pixel counts of one map against its labels; the counts of several maps can be added.

    Args:
        blocks: (B, K, K) int64 confusion matrix of each block with a labelled pixel, rows are the truth.
        boundary: (K, 2) int64 intersection and union of the boundary bands of each class (px).
        pixels: (251,) int64 labelled pixels by confidence; 0 where there is no confidence layer.
        hits: (251,) int64 those of them whose class is right.
        patches: those of the labels and of the map.
        unsure: labelled pixels that the map leaves without a class; nothing else counts them.
    """

    blocks: NDArray[np.int64]
    boundary: NDArray[np.int64]
    pixels: NDArray[np.int64]
    hits: NDArray[np.int64]
    patches: PatchCounts = field(default_factory=PatchCounts.none)
    unsure: int = 0

    def __add__(self, other: "EvaluationCounts") -> "EvaluationCounts":
        return EvaluationCounts(
            np.concatenate([self.blocks, other.blocks]), self.boundary + other.boundary,
            self.pixels + other.pixels, self.hits + other.hits, self.patches + other.patches,
            self.unsure + other.unsure,
        )  # fmt: skip


@dataclass(frozen=True)
class _Compared:
    """A map and its labels on one grid, by readers of windows of the mapped part.

    Args:
        stored: ids as stored, 255 where there is none.
        unsure: id of pixels without a class, None for none.
        width, height: of the mapped part (px).
    """

    truth: Read
    stored: Read
    unsure: int | None
    confidence: Read | None
    width: int
    height: int

    def mapped(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (h, w) of a window, 255 where there is none."""
        ids = self.stored(window)
        return ids if self.unsure is None else np.where(ids == self.unsure, np.uint8(NODATA), ids)

    def rows(self, start: int, edge: int = 0) -> Window:
        """Whole rows of blocks whose first row is `start`, and `edge` rows on both sides."""
        top, bottom = max(0, start - edge), min(self.height, start + BLOCK + edge)
        return Window(0, top, self.width, bottom - top)

    @property
    def starts(self) -> range:
        """First row of each row of blocks."""
        return range(0, self.height, BLOCK)

    def count_unsure(self) -> int:
        """Labelled pixels that are unsure."""
        if self.unsure is None:
            return 0
        windows = map(self.rows, self.starts)
        return sum(int(((self.stored(each) == self.unsure) & (self.truth(each) != NODATA)).sum()) for each in windows)


def count_pixels(
    mask: Path, confidence: Path | None, labels: LabelRaster, classes: int, origin: tuple[int, int] | None = None,
    working: Size | None = None,
) -> EvaluationCounts:  # fmt: skip
    """Count a mask, and the confidence layer of the same run, against labels of the mapped raster's ground.

    `working` is the size of the grid of the mask for the whole raster; None if it is that of the labels. `origin` is
    the column and row of that grid where the mask starts; None if the whole raster was mapped. Pixels of the finer grid
    are counted, see `CommonGrid`; those that are 255 in the mask or the labels are not. Labelled pixels of the class
    `unsure`, which the tags of the mask name, are counted as such alone.

    Raises:
        DataError: the mask exceeds the labels, or has another grid.
    """
    layer, sure = RasterInfo.read(mask), RasterInfo.read(confidence) if confidence else None
    own = labels.info.width, labels.info.height
    working = working or own
    _check_place(layer, labels.info, working, origin)
    roi = Window(*(origin or (0, 0)), layer.width, layer.height)
    grid = CommonGrid.of(own, working, roi)

    def band(info: RasterInfo) -> Read:
        return grid.part(lambda window: _band(info, _inside(window, roi)), working)

    size = grid.window.width, grid.window.height
    compared = _Compared(grid.part(labels.read, own), band(layer), unsure_id(mask), band(sure) if sure else None, *size)
    counts = reduce(add, (_row_of_blocks(compared, classes, top) for top in compared.starts))
    where = grid.georeference(layer.georeference, working, (roi.col_off, roi.row_off))
    patches = count_patches(compared.truth, compared.mapped, where, *size)
    return replace(counts, patches=patches, unsure=compared.count_unsure())


def _row_of_blocks(compared: _Compared, classes: int, start: int) -> EvaluationCounts:
    """Count the blocks whose first row is `start`; boundary bands need a few rows more on both sides."""
    window, wide = compared.rows(start), compared.rows(start, EDGE)
    truth, mapped = compared.truth(wide), compared.mapped(wide)
    inner, _ = window.within(wide)
    counted = (truth != NODATA) & (mapped != NODATA)
    truth, mapped = (np.where(counted, each, NODATA) for each in (truth, mapped))  # a hole in one makes no edge
    boundary = np.zeros((classes, 2), np.int64)
    for k in range(classes):
        true_edge, mapped_edge = boundary_band(truth == k, EDGE), boundary_band(mapped == k, EDGE)
        boundary[k] = (true_edge & mapped_edge)[inner].sum(), (true_edge | mapped_edge)[inner].sum()
    truth, mapped, counted = truth[inner], mapped[inner], counted[inner]
    starts = range(0, window.width, BLOCK)
    blocks = [confusion(truth[:, col : col + BLOCK], mapped[:, col : col + BLOCK], classes) for col in starts]
    pixels, hits = np.zeros(_LEVELS, np.int64), np.zeros(_LEVELS, np.int64)
    if compared.confidence is not None:
        sure = compared.confidence(window)
        pixels += np.bincount(sure[counted], minlength=_LEVELS)
        hits += np.bincount(sure[counted & (truth == mapped)], minlength=_LEVELS)
    return EvaluationCounts(
        np.array([block for block in blocks if block.any()]).reshape(-1, classes, classes), boundary, pixels, hits
    )


def _inside(window: Window, roi: Window) -> Window:
    """A window of the whole raster, in the map of a window `roi` of it."""
    return Window(window.col_off - roi.col_off, window.row_off - roi.row_off, window.width, window.height)


def _band(info: RasterInfo, window: Window) -> NDArray[np.uint8]:
    with Reader(Source(info, (1,), ValidityRule.of(info), info.width, info.height)) as reader:
        return np.asarray(reader.read(window).pixels[0], np.uint8)


def _check_place(mask: RasterInfo, labels: RasterInfo, working: Size, origin: tuple[int, int] | None) -> None:
    """Refuse a mask that is not on the working grid, or not on the part of it that starts at `origin`."""
    (width, height), (left, top) = working, origin or (0, 0)
    whole = labels.georeference
    if whole.transform != rasterio.Affine.identity():
        whole = whole.shifted(0, 0, labels.width / width, labels.height / height)
    if origin is None:
        problem = misfit(mask, replace(labels, width=width, height=height, georeference=whole))
    elif left + mask.width > width or top + mask.height > height:
        problem = f"{mask.path}: reaches beyond its labels {labels.path}"
    else:
        where = whole if whole.transform == rasterio.Affine.identity() else whole.shifted(left, top)
        problem = misfit(mask, replace(labels, width=mask.width, height=mask.height, georeference=where))
    if problem:
        raise DataError(problem)
