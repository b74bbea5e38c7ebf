"""The place whose labels teach the head most: what `agriseg suggest` picks, in boxes of the size of the screen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
import torch
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.labelling.field import BLOCK, Field
from agriseg.labelling.head_map import COARSE, BlockMap
from agriseg.labelling.label import Label
from agriseg.legend import Legend
from agriseg.suggest.boxes import BoxGrid, BoxSurvey
from agriseg.suggest.ranking import Candidates, rank
from agriseg.suggest.survey import VALID
from agriseg.suggest.todo import reasons

_LEAST = 8  # side of a box (coarse cells)
_MOST = 48
_TINY = 1e-4  # probability below which float16 says nothing


@dataclass(frozen=True)
class Place:
    """A box of the raster, and why it was chosen."""

    window: Window
    why: str


def next_place(
    field: Field, blocks: dict[tuple[int, int], BlockMap], labels: Sequence[Label], legend: Legend, view: Window
) -> Place | None:
    """The box to label next, among those on mapped blocks without a label in them; None if there is none.

    Boxes have the shorter side of the view, or a half or a quarter of it where all of these are labelled.
    """
    side = min(_MOST, max(_LEAST, min(view.width, view.height) // COARSE))
    sides = [side, *(each for each in (side // 2, side // 4) if each >= _LEAST)]
    places = (_best(field, blocks, labels, legend, each) for each in sides)
    return next(filter(None, places), None)


def _best(
    field: Field, blocks: dict[tuple[int, int], BlockMap], labels: Sequence[Label], legend: Legend, side: int
) -> Place | None:
    """The best box of a side (coarse cells)."""
    height, width = -(-field.info.height // COARSE), -(-field.info.width // COARSE)
    grid = BoxGrid(Window(0, 0, width, height), side)
    survey = BoxSurvey(grid, len(legend), 1.0)
    for (row, col), each in blocks.items():
        inside = _inside(row * BLOCK // COARSE, col * BLOCK // COARSE, height, width)
        if inside:
            survey.observe(_logits(each, inside), torch.from_numpy(each.valid[: inside.height, : inside.width]), inside)
    statistics, labelled = survey.statistics(), _labelled(grid, labels)
    numbers = np.arange(len(grid))
    cells = np.stack(np.divmod(numbers, grid.shape[1]), axis=1)
    candidates = Candidates(statistics, np.zeros(len(grid), np.intp), cells, labelled, statistics.valid >= VALID)
    if not candidates.free.any():
        return None
    choices = rank(candidates, 1)
    box = grid.window(choices[0].box)
    window = Window(box.col_off * COARSE, box.row_off * COARSE, box.width * COARSE, box.height * COARSE)
    return Place(window, reasons(choices[0], candidates, legend))


def _inside(row: int, col: int, height: int, width: int) -> Window | None:
    """The coarse cells of a block that lie on the raster."""
    side = BLOCK // COARSE
    tall, wide = min(side, height - row), min(side, width - col)
    return Window(col, row, wide, tall) if tall > 0 and wide > 0 else None


def _logits(block: BlockMap, inside: Window) -> torch.Tensor:
    shares = block.shares[:, : inside.height, : inside.width].astype(np.float32)
    return torch.from_numpy(np.log(np.maximum(shares, _TINY)))


def _labelled(grid: BoxGrid, labels: Sequence[Label]) -> NDArray[np.bool_]:
    """(N,) bool: boxes that a label touches."""
    touched = np.zeros(len(grid), bool)
    if not labels:
        return touched
    shapes = shapely.STRtree([shapely.transform(each.shape, lambda xy: xy / COARSE) for each in labels])
    for number in range(len(grid)):
        box = grid.window(number)
        outline = shapely.box(box.col_off, box.row_off, box.col_stop, box.row_stop)
        touched[number] = len(shapes.query(outline, predicate="intersects")) > 0
    return touched
