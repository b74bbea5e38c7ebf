"""From labels to the cells of the raster that the head learns from: clicks grow to plants as in a training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.features import rasterize

from agriseg.growth.grown_clicks import ClickGrowth
from agriseg.labelling.encoder import Encoder
from agriseg.labelling.field import BLOCK, Field
from agriseg.labelling.label import Label
from agriseg.labelling.pixel_head import CELL, LabelledCells, hypercolumns
from agriseg.labels.clicks import grown_shapes, single_points
from agriseg.legend import NODATA
from agriseg.options.labels import LabelOptions
from agriseg.vectors.read import Polygon

REACH = 100
"""How far a click grows (px), as in `agriseg quickstart`."""
GROW = f"{REACH}px"
_MOST = 3000  # cells of a class
_STEPS = 2  # of the share of cells that is kept, by each halving
_BLOCKS = 64  # with labels that are used, those with most plants first: an area may cover the whole raster
_GROUND = 0  # the first class: what is under no shape within an area


@dataclass(frozen=True)
class DrawnLabels:
    """Shapes in pixels of the raster, in the order in which they are drawn, with their classes.

    Args:
        ids: (N,) uint8.
        remarks: what to know of them, for the person who labels.
    """

    shapes: tuple[shapely.Geometry, ...]
    ids: NDArray[np.uint8]
    remarks: tuple[str, ...]


def drawn_labels(
    field: Field, labels: Sequence[Label], classes: Sequence[str], growth: ClickGrowth | None
) -> DrawnLabels:
    """Areas below, then what clicks grow to, then what is drawn; without a growth clicks are the pixels under them.

    Raises:
        DataError: most clicks on the first class, which is ground, lie on vegetation; or the raster cannot be read.
    """
    areas = [each.shape for each in labels if each.kind == "area"]
    named = [each for each in labels if each.kind != "area" and each.class_name]
    shapes = single_points([Polygon(number, each.shape, each.class_name) for number, each in enumerate(named, 1)])
    ids = np.array([classes.index(each.label or "") for each in shapes], np.uint8)
    options = LabelOptions(grow=GROW if growth else None)
    clicked = grown_shapes(field.info, shapes, ids, classes, options, growth)
    drawn = [shapes[number].shape for number in clicked.drawn]
    return DrawnLabels(
        (*areas, *(each.shape for each in clicked.grown), *drawn),
        np.concatenate([np.full(len(areas), _GROUND, np.uint8), clicked.grown_ids, ids[clicked.drawn]]),
        clicked.remarks,
    )


class CellReader:
    """Reads the labelled cells of a field with their features; blocks whose labels have not changed are kept."""

    def __init__(self, field: Field, encoder: Encoder) -> None:
        self._field, self._encoder = field, encoder
        self._kept: dict[tuple[object, ...], LabelledCells] = {}

    def cells(self, drawn: DrawnLabels, stopped: Callable[[], bool] = lambda: False) -> LabelledCells | None:
        """Cells under the shapes, at most so many of a class; None without any, or when stopped."""
        kept = {}
        for block, cells in _chosen(_blocks(self._field, drawn)).items():
            if stopped():
                return None
            key = (block, self._encoder.generation, *(each.tobytes() for each in cells))
            kept[key] = self._kept.get(key) or self._read(block, *cells)
        self._kept = kept
        return LabelledCells.joined(list(kept.values())) if any(map(len, kept.values())) else None

    def _read(
        self, block: tuple[int, int], rows: NDArray[np.int64], cols: NDArray[np.int64], ids: NDArray[np.uint8]
    ) -> LabelledCells:
        features, side = self._encoder.features(*block), BLOCK // CELL
        inside = features.valid[rows * CELL, cols * CELL]
        rows, cols, ids = rows[inside], cols[inside], ids[inside]
        place = np.stack([rows + block[0] * side, cols + block[1] * side], axis=1)
        return LabelledCells(hypercolumns(features, rows, cols), ids.astype(np.int64), place)


Cells = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]
"""Rows, columns and classes of cells of a block."""


def _blocks(field: Field, drawn: DrawnLabels) -> dict[tuple[int, int], Cells]:
    """The labelled cells of each block."""
    if not drawn.shapes:
        return {}
    shapes, side = np.array(drawn.shapes, object), BLOCK // CELL
    left, top, right, bottom = np.floor(shapely.bounds(shapes).T / BLOCK).astype(int)
    rows, cols = field.blocks
    found = {}
    touched = {
        (row, col)
        for number in range(len(shapes))
        for row in range(max(0, top[number]), min(rows - 1, bottom[number]) + 1)
        for col in range(max(0, left[number]), min(cols - 1, right[number]) + 1)
    }
    for row, col in sorted(touched):
        near = np.flatnonzero((left <= col) & (right >= col) & (top <= row) & (bottom >= row))
        place = Affine.translation(col * BLOCK, row * BLOCK) @ Affine.scale(CELL)
        ids = np.full((side, side), NODATA, np.uint8)
        # a point or a line labels the cells that it touches, a polygon those whose centre it holds
        for touches, numbers in groupby(near.tolist(), lambda number: "Polygon" not in drawn.shapes[number].geom_type):
            some = [(shapes[number], int(drawn.ids[number])) for number in numbers]
            rasterize(some, out=ids, transform=place, all_touched=touches)
        at = np.nonzero(ids != NODATA)
        if len(at[0]):
            found[row, col] = at[0], at[1], ids[at]
    return found


def _chosen(found: dict[tuple[int, int], Cells]) -> dict[tuple[int, int], Cells]:
    """At most about `_MOST` cells of each class, drawn at random from all blocks alike.

    A label more changes the draw in its own block alone, unless a share falls to its next step.
    """
    some = dict(sorted(found.items(), key=lambda item: (-np.count_nonzero(item[1][2] != _GROUND), item[0]))[:_BLOCKS])
    counts = np.zeros(256, np.int64)
    for *_, ids in some.values():
        counts += np.bincount(ids, minlength=256)
    keep = 2.0 ** (np.floor(np.log2(np.minimum(1.0, _MOST / np.maximum(counts, 1))) * _STEPS) / _STEPS)
    chosen = {}
    for key, (rows, cols, ids) in some.items():
        kept = np.random.default_rng(key).random(len(ids)) < keep[ids]
        chosen[key] = rows[kept], cols[kept], ids[kept]
    return chosen
