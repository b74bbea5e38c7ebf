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


def labelled_cells(
    field: Field, drawn: DrawnLabels, encoder: Encoder, stopped: Callable[[], bool] = lambda: False
) -> LabelledCells | None:
    """Cells under the shapes, at most so many of a class, with their features; None without any, or when stopped."""
    found = _blocks(field, drawn)
    chosen = _chosen(found)
    parts = []
    for (row, col), cells in chosen.items():
        if stopped():
            return None
        features = encoder.features(row, col)
        rows, cols, ids = cells
        inside = features.valid[rows * CELL, cols * CELL]
        rows, cols, ids = rows[inside], cols[inside], ids[inside]
        place = np.stack([rows + row * (BLOCK // CELL), cols + col * (BLOCK // CELL)], axis=1)
        parts.append(LabelledCells(hypercolumns(features, rows, cols), ids.astype(np.int64), place))
    return LabelledCells.joined(parts) if parts and any(len(part) for part in parts) else None


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
    """At most `_MOST` cells of each class, drawn at random from all blocks alike."""
    counts = np.zeros(256, np.int64)
    for *_, ids in found.values():
        counts += np.bincount(ids, minlength=256)
    keep, rng = np.minimum(1.0, _MOST / np.maximum(counts, 1)), np.random.default_rng(0)
    chosen = {}
    for key, (rows, cols, ids) in found.items():
        kept = rng.random(len(ids)) < keep[ids]
        chosen[key] = rows[kept], cols[kept], ids[kept]
    return chosen
