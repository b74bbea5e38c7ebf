"""Connected components of one class (patches), found in one pass over the strips of a map.

A run is a sequence of pixels of one value in a row. Runs that touch are connected block by block; a block is a few rows
and the row above them. The cost depends on the number of runs and not of pixels. A piece is connected within a block;
pieces that touch across blocks are one patch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from agriseg.errors import DataError
from agriseg.legend import CONFIDENCE_STEP, NODATA
from agriseg.maps.reader import ROWS, MapStrip, MaskSource

MAX_PATCHES = 10_000_000
"""Pieces that are kept at once: about 1 GiB."""
_PART = 2**22  # px of a part: were each a run of its own, they would take some 300 MB

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RunBlock:
    """Runs of a few rows of a map and of the row above them.

    Args:
        strip: its rows, with their confidence.
        mask: (1 + h, width) uint8, the row above first; nodata above the map.
        start: (N,) place of the first pixel of each run, row * width + column in the map; ascending.
        piece: (N,) number of the piece that a run is of, counted over the map; -1 for nodata.
        links: (L, 2) a piece of an earlier part, and a piece of this one that it touches.
        pieces: numbers of the pieces that begin here.
    """

    strip: MapStrip
    mask: NDArray[np.uint8]
    start: Ints
    piece: Ints
    links: Ints
    pieces: range

    @property
    def width(self) -> int:
        """Columns of the map."""
        return int(self.mask.shape[1])

    @property
    def first_run(self) -> int:
        """The first run that is not of the row above."""
        return int(np.searchsorted(self.start, self.strip.row_off * self.width))

    def paint(self, values: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Give each pixel the value of its run: (N,) to (h, width)."""
        own = self.start[self.first_run :]
        lengths = np.diff(own, append=self.strip.rows.stop * self.width)
        return np.repeat(values[self.first_run :], lengths).reshape(-1, self.width)


@dataclass(frozen=True)
class Components:
    """Connected regions of one class, in the order of their first pixels from left to right, then down.

    Pixels are connected over their sides. Nodata is in no patch.

    Args:
        class_id: (N,) uint8.
        pixels: (N,) int64.
        square_metres: (N,) float64 on the ground, the sum over its pixels; None where the ground is unknown.
        confidence: (N,) float64 mean over its pixels, 0 to 1.
        row, col: (N,) int64 first pixel: the leftmost of the topmost row.
        of_piece: (P,) int64 patch of each piece that `run_blocks` numbers.
    """

    class_id: NDArray[np.uint8]
    pixels: Ints
    square_metres: NDArray[np.float64] | None
    confidence: NDArray[np.float64]
    row: Ints
    col: Ints
    of_piece: Ints

    @classmethod
    def of(cls, source: MaskSource, rows: int = ROWS) -> "Components":
        """Find the patches of a map; they do not depend on how many rows are read at a time.

        Raises:
            DataError: more than `MAX_PATCHES`, or a block cannot be decoded.
        """
        tables, links, known = [_NONE], [np.empty((0, 2), np.int64)], True
        for part in run_blocks(source, rows):
            areas = source.areas(part.strip.rows)
            known = known and areas is not None
            if part.pieces:
                tables.append(_pieces(part, np.zeros(len(part.strip.mask)) if areas is None else areas))
            links.append(part.links)
        table = _Table.joined(tables)
        count, group = _components(np.concatenate(links).T, len(table.first))
        table = table.merged(group, count)
        order = np.argsort(table.first)
        place = np.empty_like(order)
        place[order] = np.arange(count)
        table = table.at(order)
        row, col = np.divmod(table.first, source.width)
        return cls(
            table.class_id, table.pixels, table.square_metres if known else None,
            table.confidence * CONFIDENCE_STEP / np.maximum(table.pixels, 1), row, col,
            place[group],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.pixels)


def run_blocks(source: MaskSource, rows: int = ROWS) -> Iterator[RunBlock]:
    """The runs of a map from top to bottom, with the same numbers of pieces at each call with the same rows.

    Raises:
        DataError: more than `MAX_PATCHES` pieces.
    """
    above = np.full(source.width, NODATA, np.uint8)
    of_above, count = np.array([-1]), 0
    high = max(1, _PART // source.width)
    for strip in source.strips(rows):
        for top in range(0, len(strip.mask), high):
            cut = slice(top, top + high)
            part = _part(MapStrip(strip.row_off + top, strip.mask[cut], strip.confidence[cut]), above, of_above, count)
            count = part.pieces.stop
            if count > MAX_PATCHES:
                raise DataError(
                    f"more than {MAX_PATCHES:,} patches in the rows to {part.strip.rows.stop}, too many to list; "
                    "smooth the mask first (--smooth)"
                )
            above, of_above = part.mask[-1], part.piece[part.start >= (part.strip.rows.stop - 1) * part.width]
            yield part


def _part(strip: MapStrip, above: NDArray[np.uint8], of_above: Ints, count: int) -> RunBlock:
    """Join the runs of a strip to pieces, numbered from `count` on; `of_above` are the pieces of the row above."""
    mask = np.concatenate([above[None], strip.mask])
    width = mask.shape[1]
    breaks = np.ones(mask.shape, bool)
    np.not_equal(mask[:, 1:], mask[:, :-1], out=breaks[:, 1:])
    start = np.flatnonzero(breaks)
    value = mask.ravel()[start]
    seen = np.flatnonzero(breaks[:-1] | breaks[1:])  # where an upper run begins to lie over a lower one
    upper, lower = (np.searchsorted(start, seen + shift, "right") - 1 for shift in (0, width))
    touch = (value[upper] == value[lower]) & (value[upper] != NODATA)
    groups, group = _components(np.stack([upper[touch], lower[touch]]), len(start))
    ours = np.zeros(groups, bool)
    ours[group[len(of_above) :][value[len(of_above) :] != NODATA]] = True
    number = np.where(ours, count + np.cumsum(ours) - 1, -1)
    piece = number[group]
    links = np.stack([of_above, piece[: len(of_above)]], axis=1)
    links = links[links[:, 1] >= 0]
    piece[: len(of_above)] = of_above
    place = start + (strip.row_off - 1) * width
    return RunBlock(strip, mask, place, piece, links, range(count, count + int(ours.sum())))


def _components(edges: Ints, nodes: int) -> tuple[int, Ints]:
    """Number of connected components of a graph with edges (2, E), and that of each node."""
    graph = coo_array((np.ones(edges.shape[1], bool), tuple(edges)), shape=(nodes, nodes))
    count, component = connected_components(graph, directed=False) if nodes else (0, np.empty(0))
    return count, component.astype(np.int64)


class _Table(NamedTuple):
    """Columns of runs, pieces or patches; confidence in counts."""

    class_id: NDArray[np.uint8]
    pixels: Ints
    square_metres: NDArray[np.float64]
    confidence: Ints
    first: Ints

    @classmethod
    def joined(cls, tables: list["_Table"]) -> "_Table":
        """One below the other."""
        columns: list[NDArray[Any]] = [np.concatenate(column) for column in zip(*tables, strict=True)]
        return cls(*columns)

    def at(self, rows: Ints) -> "_Table":
        """Some rows."""
        columns: list[NDArray[Any]] = [column[rows] for column in self]
        return _Table(*columns)

    def merged(self, group: Ints, count: int) -> "_Table":
        """One row for each group."""
        class_id = np.zeros(count, np.uint8)
        class_id[group] = self.class_id
        areas = np.bincount(group, self.square_metres, count).astype(np.float64)
        pixels, confidence = (  # sums of integers below 2^53 are exact in float64
            np.bincount(group, column, count).astype(np.int64) for column in (self.pixels, self.confidence)
        )
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, group, self.first)
        return _Table(class_id, pixels, areas, confidence, first)


_NO_INTS: Ints = np.empty(0, np.int64)
_NONE = _Table(np.empty(0, np.uint8), _NO_INTS, np.empty(0), _NO_INTS, _NO_INTS)


def _pieces(part: RunBlock, areas: NDArray[np.float64]) -> _Table:
    """What the pieces of a part are of, from their runs; areas (h,) in square metres of a pixel."""
    start = part.start[part.first_run :]
    offset = part.strip.row_off * part.width
    length = np.diff(start, append=part.strip.rows.stop * part.width)
    sure = np.add.reduceat(part.strip.confidence.ravel(), start - offset, dtype=np.int64)
    piece = part.piece[part.first_run :]
    own = piece >= 0
    start, length, sure = start[own], length[own], sure[own]
    row = start // part.width
    class_id = part.strip.mask.ravel()[start - offset]
    runs = _Table(class_id, length, areas[row - part.strip.row_off] * length, sure, start)
    return runs.merged(piece[own] - part.pieces.start, len(part.pieces))
