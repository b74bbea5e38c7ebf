"""Connected components of one class (patches), found in one pass over the strips of a map.

A run is a sequence of pixels of one value in a row. Runs that touch are connected block by block; a block is a few rows
and the row above them. The cost depends on the number of runs and not of pixels. A piece is connected within a block;
pieces that touch across blocks are one patch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from agriseg.errors import DataError
from agriseg.legend import CONFIDENCE_STEP, NODATA
from agriseg.maps.reader import ROWS, MapStrip, StripSource

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
    def of(cls, source: StripSource, rows: int = ROWS) -> "Components":
        """Find the patches of a map; they do not depend on how many rows are read at a time.

        Raises:
            DataError: more than `MAX_PATCHES`, or a block cannot be decoded.
        """
        tables, links, known = [np.empty(0, _COLUMNS)], [np.empty((0, 2), np.int64)], True
        for part in run_blocks(source, rows):
            areas = source.areas(part.strip.rows)
            known = known and areas is not None
            if part.pieces:
                tables.append(_pieces(part, np.zeros(len(part.strip.mask)) if areas is None else areas))
            links.append(part.links)
        table = np.concatenate(tables)
        count, group = _components(np.concatenate(links).T, len(table))
        table = _merged(table, group, count)
        order = np.argsort(table["first"])
        place = np.empty_like(order)
        place[order] = np.arange(count)
        table = table[order]
        pixels = np.ascontiguousarray(table["pixels"])
        return cls(
            table["class_id"].copy(), pixels, table["square_metres"].copy() if known else None,
            table["confidence"] * CONFIDENCE_STEP / np.maximum(pixels, 1), *np.divmod(table["first"], source.width),
            place[group],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.pixels)


def run_blocks(source: StripSource, rows: int = ROWS) -> Iterator[RunBlock]:
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


_COLUMNS = np.dtype(
    [("class_id", "u1"), ("pixels", "i8"), ("square_metres", "f8"), ("confidence", "i8"), ("first", "i8")]
)
"""Of a table of runs, pieces or patches; confidence in counts, `first` is the place of the first pixel."""
Table = NDArray[np.void]


def _merged(table: Table, group: Ints, count: int) -> Table:
    """One row for each group."""
    merged = np.zeros(count, _COLUMNS)
    merged["class_id"][group] = table["class_id"]
    for name in ("pixels", "square_metres", "confidence"):  # sums of integers below 2^53 are exact in float64
        merged[name] = np.bincount(group, table[name], count)
    merged["first"] = np.iinfo(np.int64).max
    np.minimum.at(merged["first"], group, table["first"])
    return merged


def _pieces(part: RunBlock, areas: NDArray[np.float64]) -> Table:
    """What the pieces of a part are of, from their runs; areas (h,) in square metres of a pixel."""
    start = part.start[part.first_run :]
    offset = part.strip.row_off * part.width
    runs = np.empty(len(start), _COLUMNS)
    runs["first"], runs["pixels"] = start, np.diff(start, append=part.strip.rows.stop * part.width)
    runs["class_id"] = part.strip.mask.ravel()[start - offset]
    runs["square_metres"] = areas[start // part.width - part.strip.row_off] * runs["pixels"]
    runs["confidence"] = np.add.reduceat(part.strip.confidence.ravel(), start - offset, dtype=np.int64)
    piece = part.piece[part.first_run :]
    return _merged(runs[piece >= 0], piece[piece >= 0] - part.pieces.start, len(part.pieces))
