"""Counts of a map against labels, over whole rasters, in strips of bounded size."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError
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
class _Mask:
    """A mask that is counted; `unsure` is the id of its pixels without a class, None for none."""

    info: RasterInfo
    unsure: int | None

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (h, w) of a window, 255 where there is none."""
        ids = _band(self.info, window)
        return ids if self.unsure is None else np.where(ids == self.unsure, np.uint8(NODATA), ids)

    def count_unsure(self, labels: Callable[[Window], NDArray[np.uint8]]) -> int:
        """Labelled pixels that are unsure; `labels` gives the ids of a window of the mask."""
        if self.unsure is None:
            return 0
        info = self.info
        rows = (Window(0, top, info.width, min(BLOCK, info.height - top)) for top in range(0, info.height, BLOCK))
        return sum(int(((_band(info, row) == self.unsure) & (labels(row) != NODATA)).sum()) for row in rows)


def count_pixels(
    mask: Path, confidence: Path | None, labels: LabelRaster, classes: int, origin: tuple[int, int] | None = None
) -> EvaluationCounts:
    """Count a mask, and the confidence layer of the same run, against labels on the grid of the mapped raster.

    `origin` is the column and row of the raster where the mask starts; None if the whole raster was mapped. Pixels that
    are 255 in the mask or the labels are not counted. Labelled pixels of the class `unsure`, which the tags of the mask
    name, are counted as such alone.

    Raises:
        DataError: the mask exceeds the labels, or has another grid.
    """
    layer, sure = RasterInfo.read(mask), RasterInfo.read(confidence) if confidence else None
    _check_place(layer, labels, origin)
    ids, start = _Mask(layer, unsure_id(mask)), origin or (0, 0)

    def truth(window: Window) -> NDArray[np.uint8]:
        return labels.read(_shifted(window, start))

    counts = reduce(
        add, (_row_of_blocks(ids, sure, labels, classes, start, top) for top in range(0, layer.height, BLOCK))
    )
    patches = count_patches(truth, ids.read, layer.georeference, layer.width, layer.height)
    return replace(counts, patches=patches, unsure=ids.count_unsure(truth))


def _row_of_blocks(
    mask: _Mask, confidence: RasterInfo | None, labels: LabelRaster, classes: int, origin: tuple[int, int], start: int,
) -> EvaluationCounts:  # fmt: skip
    """Count the blocks whose first row is `start`; boundary bands need a few rows more on both sides."""
    width, height = mask.info.width, mask.info.height
    window = Window(0, start, width, min(BLOCK, height - start))
    top, bottom = max(0, window.row_off - EDGE), min(height, window.row_stop + EDGE)
    wide = Window(0, top, width, bottom - top)
    truth = labels.read(_shifted(wide, origin))
    mapped = mask.read(wide)
    inner, _ = window.within(wide)
    counted = (truth != NODATA) & (mapped != NODATA)
    truth, mapped = (np.where(counted, each, NODATA) for each in (truth, mapped))  # a hole in one makes no edge
    boundary = np.zeros((classes, 2), np.int64)
    for k in range(classes):
        true_edge, mapped_edge = boundary_band(truth == k, EDGE), boundary_band(mapped == k, EDGE)
        boundary[k] = (true_edge & mapped_edge)[inner].sum(), (true_edge | mapped_edge)[inner].sum()
    truth, mapped, counted = truth[inner], mapped[inner], counted[inner]
    starts = range(0, width, BLOCK)
    blocks = [confusion(truth[:, col : col + BLOCK], mapped[:, col : col + BLOCK], classes) for col in starts]
    pixels, hits = np.zeros(_LEVELS, np.int64), np.zeros(_LEVELS, np.int64)
    if confidence is not None:
        sure = _band(confidence, window)
        pixels += np.bincount(sure[counted], minlength=_LEVELS)
        hits += np.bincount(sure[counted & (truth == mapped)], minlength=_LEVELS)
    return EvaluationCounts(
        np.array([block for block in blocks if block.any()]).reshape(-1, classes, classes), boundary, pixels, hits
    )


def _shifted(window: Window, origin: tuple[int, int]) -> Window:
    return replace(window, col_off=window.col_off + origin[0], row_off=window.row_off + origin[1])


def _band(info: RasterInfo, window: Window) -> NDArray[np.uint8]:
    with Reader(Source(info, (1,), ValidityRule.of(info), info.width, info.height)) as reader:
        return np.asarray(reader.read(window).pixels[0], np.uint8)


def _check_place(mask: RasterInfo, labels: LabelRaster, origin: tuple[int, int] | None) -> None:
    """Refuse a mask that is not on the grid of the labels, or not on the part of it that starts at `origin`."""
    whole = labels.info
    if origin is None:
        problem = misfit(mask, whole)
    elif origin[0] + mask.width > whole.width or origin[1] + mask.height > whole.height:
        problem = f"{mask.path}: reaches beyond its labels {whole.path}"
    else:
        where = whole.georeference.shifted(*origin)
        problem = misfit(mask, replace(whole, width=mask.width, height=mask.height, georeference=where))
    if problem:
        raise DataError(problem)
