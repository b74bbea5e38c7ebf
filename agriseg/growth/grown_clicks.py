"""Clicks on an image, grown to plants in squares of bounded size.

Memory depends on the reach of a click, and not on the raster.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from agriseg.errors import DataError
from agriseg.grid import Window, intersection
from agriseg.growth.clicked import Outlined, Points
from agriseg.growth.grown_square import GrownSquare, SquareGrowth
from agriseg.growth.plant_growth import Floats, GroundLevel, Mask
from agriseg.raster.band_roles import find_bands, listed
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader, Source
from agriseg.raster.valid_mask import Use, ValidityRule
from agriseg.vegetation.formulas import Index, compute, get_index

BLOCK = 1024
"""Side of the squares in which clicks are grown together (px)."""
_EDGE = 6  # px around a square: ground depends on vegetation so far away
_SMOOTH, _CUT = 1.0, 4  # standard deviation of the Gaussian filter, and where it is cut off (px)
_SAMPLED = 64  # clicks around which the index of the ground is sampled
_SAMPLE = 16.0, 128.0  # least and largest half-width of the windows of that sample (px); the reach between them
_COLOURS = 3  # bands: red, green, blue
_INDICES = ("NDVI", "ExG")  # the first whose bands an image has


@dataclass(frozen=True)
class GrownClicks:
    """What clicks became.

    Args:
        shapes: (M,) of plants, and of ground around clicks, in pixels of the image; they do not overlap.
        ids: (M,) uint8 class of each.
        pixels: (N,) int64 size of the plant of each click on a plant; 0 where it has none.
        shared: pairs of clicks of different classes on one plant, which is divided between them.
        green: (G,) bool clicks on ground that lie on vegetation.
    """

    shapes: tuple[shapely.Geometry, ...]
    ids: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    shared: tuple[tuple[int, int], ...]
    green: Mask


class ClickGrowth:
    """Grows clicks on an image, once, or again and again while clicks come and go.

    Squares around which nothing has changed are kept.

    Args:
        reach: largest distance of a pixel's centre from a click or an outlined plant that labels it (px).
        level: of the index of the ground; None takes that around the clicks each time, and then nothing is kept.

    Raises:
        DataError: the image has no bands of a vegetation index.
    """

    def __init__(self, info: RasterInfo, reach: float, level: GroundLevel | None = None) -> None:
        self._field, self._level = _Field(*_index(info), reach), level
        self._kept: dict[tuple[object, ...], GrownSquare] = {}

    def grown(self, plants: Points, bare: Points, outlined: Outlined, ground: int | None) -> GrownClicks:
        """Grow clicks on plants to the vegetation around them, and label the bare ground around clicks and outlines.

        Args:
            plants: clicks on plants of the image; at least one of these or of the next two.
            bare: clicks on ground.
            outlined: plants that are outlined, whose ground is labelled too.
            ground: class of the ground; None labels none.

        Raises:
            DataError: the image cannot be read.
        """
        with Reader(self._field.source) as reader:
            return self._grown(reader, plants, bare, outlined, ground)

    def _grown(
        self, reader: Reader, plants: Points, bare: Points, outlined: Outlined, ground: int | None
    ) -> GrownClicks:
        field, clicked = self._field, np.concatenate([plants.xy, bare.xy])
        level = self._level or field.ground_level(reader, np.concatenate([clicked, outlined.corners]))
        pixels, green, shared = np.zeros(len(plants.xy), np.int64), np.zeros(len(bare.xy), bool), set()
        shapes: list[tuple[shapely.Geometry, int]] = []
        kept: dict[tuple[object, ...], GrownSquare] = {}
        for core in field.squares(np.concatenate([np.tile(clicked, 2), outlined.bounds])):
            near, beside = (np.flatnonzero(field.in_reach(each.xy, core)) for each in (plants, bare))
            around = _Near(plants.some(near), bare.some(beside), outlined.some(field.near(outlined.bounds, core)))
            key = (core, level, ground, *around.key)
            square = self._kept.get(key) or self._square(reader, core, around, ground, level)
            kept[key] = square
            pixels[near] += square.pixels
            green[beside] |= square.green
            shared |= {(int(near[one]), int(near[other])) for one, other in square.shared}
            shapes += square.outlines
        self._kept = kept if self._level else {}
        ids = np.array([class_id for _, class_id in shapes], np.uint8)
        return GrownClicks(tuple(shape for shape, _ in shapes), ids, pixels, tuple(sorted(shared)), green)

    def _square(
        self, reader: Reader, core: Window, near: "_Near", ground: int | None, level: GroundLevel
    ) -> GrownSquare:
        window = self._field.around(core, near.bounds)
        index, outlined = self._field.read(reader, window), near.outlined.mask(window)
        plants, bare = near.plants.seen_from(window), near.bare.seen_from(window)
        square = SquareGrowth.of(index, plants, bare, outlined, self._field.reach, level)
        if (inner := intersection(core, window)) is None:
            return GrownSquare(np.zeros(len(plants.ids), np.int64), square.green, frozenset(), [])
        place = inner.within(window)
        return GrownSquare(
            square.pixels(place, len(plants.ids)), square.green, square.growth.shared,
            square.outlines(place, plants.ids, ground, inner),
        )  # fmt: skip


@dataclass(frozen=True)
class _Near:
    """Clicks and outlines that may change what a square becomes."""

    plants: Points
    bare: Points
    outlined: Outlined

    @property
    def key(self) -> tuple[object, ...]:
        """The same for the same of them alone."""
        return self.plants.key, self.bare.key, self.outlined.key

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(N, 4) left, top, right and bottom of each."""
        return np.concatenate([np.tile(np.concatenate([self.plants.xy, self.bare.xy]), 2), self.outlined.bounds])


def ground_of(info: RasterInfo, windows: Iterable[Window]) -> GroundLevel:
    """The level of the ground in some windows of an image; DataError as `ClickGrowth`, or without data there."""
    field = _Field(*_index(info), 0.0)
    with Reader(field.source) as reader:
        values = np.concatenate([field.read(reader, window).ravel() for window in windows])
    known = values[np.isfinite(values)]
    if not known.size:
        raise DataError(f"{info.path}: no data in a sample of it; is its nodata value right?")
    return GroundLevel.of(known)


def can_grow(info: RasterInfo) -> bool:
    """Whether an image has the bands of a vegetation index, without which no click grows."""
    return any(len(find_bands(info, index.roles)) == len(index.roles) for index in map(get_index, _INDICES))


def _index(info: RasterInfo) -> tuple[Index, Source]:
    """The vegetation index of an image, and its bands."""
    for index in map(get_index, _INDICES):
        bands = find_bands(info, index.roles)
        if len(bands) == len(index.roles):
            rule = ValidityRule.of(info, use=Use.INDEX)
            return index, Source(info, tuple(bands[role] for role in index.roles), rule, info.width, info.height)
    remedy = "draw polygons, or leave --grow out"
    if info.count >= _COLOURS:
        named = ",".join(["red", "green", "blue", *["undefined"] * (info.count - _COLOURS)])
        remedy = f"name them in their order, such as rio edit-info --colorinterp {named} {info.path.name}"
    raise DataError(
        f"{info.path}: --grow needs red, green and blue, or red and nir, but the file has {listed(info)}; {remedy}"
    )


@dataclass(frozen=True)
class _Field:
    """The vegetation index of an image."""

    index: Index
    source: Source
    reach: float

    def read(self, reader: Reader, window: Window) -> Floats:
        """The smoothed index (h, w) of a window; NaN without data. It is exact `_CUT` px from the window's edges."""
        strip = reader.read(window)
        known = strip.valid.astype(np.float32)
        values = compute(self.index, dict(zip(self.index.roles, strip.pixels, strict=True)))
        known[np.isnan(values)] = 0
        weights, sums = (
            ndimage.gaussian_filter(each, _SMOOTH, truncate=_CUT / _SMOOTH, mode="constant")
            for each in (known, np.where(known > 0, values, np.float32(0)))
        )
        return np.where(known > 0, sums / np.maximum(weights, np.float32(1e-6)), np.float32(np.nan))

    def ground_level(self, reader: Reader, xy: NDArray[np.float64]) -> GroundLevel:
        """The index of the ground around some of the clicks, spread evenly over their order in space."""
        chosen = np.lexsort(xy.T)[np.linspace(0, len(xy) - 1, min(_SAMPLED, len(xy))).astype(int)]
        half = min(max(self.reach, _SAMPLE[0]), _SAMPLE[1])
        windows = [self._window(xy[number] - half, xy[number] + half) for number in chosen]
        values = np.concatenate([self.read(reader, window).ravel() for window in windows])
        return GroundLevel.of(values[np.isfinite(values)])

    def squares(self, bounds: NDArray[np.float64]) -> Iterator[Window]:
        """The squares of the image that boxes (N, 4) of left, top, right and bottom reach."""
        low, high = (bounds[:, :2] - self.reach) // BLOCK, (bounds[:, 2:] + self.reach) // BLOCK
        last = np.array([self.source.width - 1, self.source.height - 1]) // BLOCK
        reached = {
            (row, col)
            for (left, top), (right, bottom) in zip(np.maximum(low, 0), np.minimum(high, last), strict=True)
            for row in range(int(top), int(bottom) + 1)
            for col in range(int(left), int(right) + 1)
        }
        for row, col in sorted(reached):
            corner = np.array([col, row], float) * BLOCK
            yield self._window(corner, corner + BLOCK - 1)

    def around(self, core: Window, bounds: NDArray[np.float64]) -> Window:
        """What must be read to know what becomes of clicks and outlines with these bounds (N, 4) in a square."""
        edge = self.reach + _EDGE + _CUT + 1
        wide = edge + self.reach
        low = np.maximum(np.array([core.col_off, core.row_off]) - wide, bounds[:, :2].min(0) - edge)
        high = np.minimum(np.array([core.col_stop, core.row_stop]) + wide, bounds[:, 2:].max(0) + edge)
        return self._window(low, high)

    def in_reach(self, xy: NDArray[np.float64], core: Window) -> Mask:
        """(N,) bool: clicks that may change what a square becomes."""
        return self.near(np.tile(xy, 2), core)

    def near(self, bounds: NDArray[np.float64], core: Window) -> Mask:
        """(N,) bool: boxes (N, 4) of left, top, right and bottom that may change what a square becomes."""
        wide = self.reach + _EDGE
        low, high = np.array([core.col_off, core.row_off]), np.array([core.col_stop, core.row_stop])
        return np.asarray(((bounds[:, 2:] >= low - wide) & (bounds[:, :2] <= high + wide)).all(1))

    def _window(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Window:
        """The pixels from one point (x, y) to another, as far as they lie on the image."""
        left, top = np.maximum(np.floor(low), 0).astype(int).tolist()
        right, bottom = np.minimum(np.floor(high) + 1, (self.source.width, self.source.height)).astype(int).tolist()
        return Window(left, top, right - left, bottom - top)
