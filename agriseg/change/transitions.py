"""Transitions between two dates: area from class to class, and a raster of them."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import rasterio
from numpy.typing import NDArray

from agriseg.change.regrid import GridTransform
from agriseg.errors import DataError
from agriseg.legend import NODATA, Legend
from agriseg.maps.reader import FinishedMap
from agriseg.raster.cog import BLOCK
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.safe_open import open_raster
from agriseg.units import HECTARE

MOST_CLASSES = 15
"""All transitions of so many fit into one byte, with unchanged and nodata."""
UNCHANGED = "unchanged"

_COLS = 1024  # columns that are read at once
_PAIRS = 256  # most pairs of classes at two dates, with nodata as a class
_OF_LATER = 0.75  # share of the later class in the colour of a transition
_UNSURE = 0.45  # px from a later pixel's centre, half a pixel less the error of a shift; beyond, the next may be meant


def transition_legend(legend: Legend) -> Legend:
    """Names and colours of the layer's values: 0 unchanged, `from * K + to + 1` for a transition."""
    names, colours = [UNCHANGED], ["#d9d9d9"]
    for one, two in product(legend, legend):
        mixed = np.average([one.rgb, two.rgb], axis=0, weights=[1 - _OF_LATER, _OF_LATER])
        names.append(f"{one.name} -> {two.name}")
        colours.append("#" + bytes(mixed.round().astype(int).tolist()).hex())
    return Legend.from_names(names, colours)


@dataclass(frozen=True)
class Transitions:
    """Area from class to class. Index K stands for no data at that date.

    Args:
        legend: of the K classes.
        pixels: (K + 1, K + 1) int64, [from, to], on the earlier grid.
        square_metres: the same on the ground; None where that is unknown.
        edge_pixels: changed pixels along an edge that both dates show: one neighbour has the earlier class at the later
            date, another has the later class at the earlier date. A displacement of one pixel explains them.
    """

    legend: Legend
    pixels: NDArray[np.int64]
    square_metres: NDArray[np.float64] | None
    edge_pixels: int

    @property
    def valid_pixels(self) -> int:
        """Pixels with data at both dates."""
        return int(self.pixels[:-1, :-1].sum())

    @property
    def changed_pixels(self) -> int:
        """Pixels with data at both dates and different classes."""
        return self.valid_pixels - int(self.pixels[:-1, :-1].trace())

    @property
    def unchanged_share(self) -> float:
        """Share (0 to 1) of the ground with data at both dates whose class is the same."""
        both = (self.pixels if self.square_metres is None else self.square_metres)[:-1, :-1]
        return float(both.trace() / both.sum())

    def total(self, earlier: int | slice, later: int | slice) -> tuple[int, float | None]:
        """Pixels and hectares of a part of the matrix."""
        pixels, metres = int(self.pixels[earlier, later].sum()), self.square_metres
        return pixels, None if metres is None else _rounded((metres[earlier, later] / HECTARE).sum())

    def pairs(self) -> list[tuple[str, str, int, float | None]]:
        """From class, to class, pixels and hectares, for any two classes in the order of the legend."""
        return [(one.name, two.name, *self.total(one.id, two.id)) for one, two in product(self.legend, self.legend)]

    def class_hectares(self) -> list[tuple[float | None, ...]]:
        """Hectares of each class at each date, gained, lost, and gained less lost; where both dates have data."""
        if self.square_metres is None:
            return [(None,) * 5] * len(self.legend)
        both = self.square_metres[:-1, :-1] / HECTARE
        before, after, same = both.sum(1), both.sum(0), both.diagonal()
        table = np.stack([before, after, after - same, before - same, after - before], axis=1)
        return [tuple(map(_rounded, row)) for row in table]


class MapPair:
    """The classes at two dates on the earlier grid, as `agriseg.raster.cog.RowSource`. Use it as a context.

    The later class of a pixel is that of the nearest later pixel. A pixel between two later pixels may mean either:
    along an edge that the earlier map shows too, the one that changes nothing is taken. Otherwise each edge of the
    field would be gain on one side and loss on the other.

    An unsure pixel has no class, so it neither changes nor stays: it counts as no data.

    Args:
        earlier, later: the maps, of the same classes in any order; `unsure` may be in one alone.
        shift: rows and columns of the earlier grid by which the later map is shifted.

    Raises:
        DataError: their classes differ, or are more than 15.
    """

    bands = 1
    dtype = "uint8"
    nodata = float(NODATA)

    def __init__(self, earlier: FinishedMap, later: FinishedMap, shift: tuple[float, float]) -> None:
        self._earlier, self._later, self._shift = earlier, later, shift
        self.height, self.width, self.georeference = earlier.height, earlier.width, earlier.georeference
        self._blocks = [range(start, min(start + _COLS, self.width)) for start in range(0, self.width, _COLS)]
        self._legend = earlier.legend.decided
        self._size = size = len(self._legend)
        self._ids = np.array([_ids(earlier, self._legend), _ids(later, self._legend)])
        self._map = GridTransform(earlier.georeference, later.georeference)
        values = np.arange(size * size, dtype=np.uint8).reshape(size, size) + 1
        np.fill_diagonal(values, 0)
        self._values = np.pad(values, (0, 1), constant_values=NODATA).ravel()
        self._open = open_raster(earlier.classes), open_raster(later.classes)

    def __enter__(self) -> "MapPair":
        return self

    def __exit__(self, *_: object) -> None:
        for dataset in self._open:
            dataset.close()

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows `[start, stop)` of the layer, (1, stop - start, width): values of `transition_legend`, 255 nodata."""
        parts = [self._values[self._pair(range(start, stop), cols)] for cols in self._blocks]
        return np.concatenate(parts, axis=1)[None]

    def count(self) -> Transitions:
        """Count all transitions.

        Raises:
            DataError: a block cannot be decoded, or a value is no class.
        """
        size = self._size + 1
        pixels, metres, edges, known = np.zeros(_PAIRS, np.int64), np.zeros(_PAIRS), 0, True
        for start in range(0, self.height, BLOCK):
            rows = range(start, min(start + BLOCK, self.height))
            areas = self._earlier.areas(rows)
            known &= areas is not None
            for cols in self._blocks:
                pair = self._pair(_around(rows), _around(cols))
                by_row = _by_row(pair[1:-1, 1:-1])
                pixels += by_row.sum(0)
                metres += 0 if areas is None else areas @ by_row
                edges += self._edges(pair)
        shape = (size, size)
        square_metres = metres[: size**2].reshape(shape) if known else None
        return Transitions(self._legend, pixels[: size**2].reshape(shape), square_metres, edges)

    def _pair(self, rows: range, cols: range) -> NDArray[np.uint8]:
        """`from * (K + 1) + to` of pixels, which may lie beyond the grid."""
        around = self._before(_around(rows), _around(cols))
        was = around[1:-1, 1:-1]
        places = self._map.cross(np.array(rows) + self._shift[0], np.array(cols) + self._shift[1])
        became = self._after(*places)
        doubtful = (was != became) & (was < self._size) & (became < self._size) & (_beside(around) == became).any(0)
        if doubtful.any():
            row, col = (np.broadcast_to(axis, was.shape)[doubtful] for axis in places)
            near = [self._after(row + down, col + right) for down, right in product((-_UNSURE, _UNSURE), repeat=2)]
            became[doubtful] = np.where((np.array(near) == was[doubtful]).any(0), was[doubtful], became[doubtful])
        return was * np.uint8(self._size + 1) + became

    def _before(self, rows: range, cols: range) -> NDArray[np.uint8]:
        """Earlier classes; K is no data."""
        inner = _within(rows, self.height), _within(cols, self.width)
        beyond = [
            (part.start - axis.start, axis.stop - part.stop) for part, axis in zip(inner, (rows, cols), strict=True)
        ]
        return np.pad(self._classes(0, *inner), beyond, constant_values=self._size)

    def _after(self, row: NDArray[np.float64], col: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Later classes at positions of the later grid, in arrays that broadcast; K is no data."""
        down, right = np.floor(row + 0.5).astype(np.int64), np.floor(col + 0.5).astype(np.int64)
        rows = _within(range(down.min(), down.max() + 1), self._later.height)
        cols = _within(range(right.min(), right.max() + 1), self._later.width)
        if not rows or not cols:
            return np.full(np.broadcast_shapes(row.shape, col.shape), self._size, np.uint8)
        classes = self._classes(1, rows, cols)
        inside = (down >= rows.start) & (down < rows.stop) & (right >= cols.start) & (right < cols.stop)
        down, right = np.clip(down - rows.start, 0, len(rows) - 1), np.clip(right - cols.start, 0, len(cols) - 1)
        return np.asarray(np.where(inside, classes[down, right], self._size), np.uint8)

    def _classes(self, date: int, rows: range, cols: range) -> NDArray[np.uint8]:
        """Classes of a map as ids of the earlier legend."""
        path = (self._earlier, self._later)[date].classes
        window = rasterio.windows.Window(cols.start, rows.start, len(cols), len(rows))
        with gdal_calls(f"{path}: rows {rows.start} to {rows.stop} cannot be read; run agriseg run again"):
            stored = self._open[date].read(1, window=window)
        ids = self._ids[date][stored]
        if ids.max() > self._size:
            raise DataError(f"{path}: holds {stored[ids > self._size][0]}, which is no class; run agriseg run again")
        return np.asarray(ids)

    def _edges(self, pair: NDArray[np.uint8]) -> int:
        """Number of changed pixels along an edge of both dates; `pair` has one more pixel all around."""
        before, after = np.divmod(pair, np.uint8(self._size + 1))
        was, became = before[1:-1, 1:-1], after[1:-1, 1:-1]
        changed = (was != became) & (was < self._size) & (became < self._size)
        if not changed.any():
            return 0
        return int((changed & (_beside(after) == was).any(0) & (_beside(before) == became).any(0)).sum())


def _beside(around: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(4, h, w) neighbours of the inner pixels of (h + 2, w + 2)."""
    return np.stack([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])


def _ids(map_: FinishedMap, legend: Legend) -> NDArray[np.uint8]:
    """(256,) ids of a legend by values of a map with the same names.

    K for nodata and for `unsure`, which the legend is without; more for what is no class.
    """
    names, expected = map_.legend.decided.names, legend.names
    if set(names) != set(expected):
        raise DataError(
            f"{map_.classes}: classes {', '.join(names)}, the earlier map has {', '.join(expected)}; "
            "only maps of the same classes can be compared"
        )
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"{map_.classes}: {len(names)} classes, expected at most {MOST_CLASSES}, so that each change has a value"
        )
    table = np.full(_PAIRS, NODATA, np.uint8)
    table[: len(names)] = [expected.index(name) for name in names]
    table[[NODATA] if map_.legend.unsure is None else [NODATA, map_.legend.unsure]] = len(names)
    return table


def _within(part: range, length: int) -> range:
    """The part of a range that is within 0 and the length of an axis."""
    start = min(max(part.start, 0), length)
    return range(start, max(start, min(part.stop, length)))


def _around(part: range) -> range:
    return range(part.start - 1, part.stop + 1)


def _by_row(pair: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(h, 256) pixels of each pair in each row."""
    place = np.arange(len(pair))[:, None] * _PAIRS + pair
    return np.bincount(place.ravel(), minlength=len(pair) * _PAIRS).reshape(len(pair), _PAIRS)


def _rounded(hectares: float) -> float:
    return round(float(hectares), 8)
