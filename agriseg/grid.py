"""Where tiles lie: integers only, no files, no weights.

A raster axis of `size` pixels is padded once, at its end, to a multiple of `align`. Tiles of one static
length start every `step = tile - overlap` pixels from raster pixel 0; the last one is moved back so that
it ends where the padded axis ends. So the network's own zero padding falls where an untiled run has it.

Neighbours k and k+1 share the pixels `[(k+1)*step, (k+1)*step + overlap)`. `margin` pixels at each end of
that stretch only give context; over the rest the weight passes from one to the other. Since the overlap is
at most half a tile, no pixel is ever weighted in more than two tiles per axis.

The network gives logits in cells of `stride` pixels. Bilinear upsampling makes a pixel depend on the two nearest
cells per axis; `logit_cells` and `first_undecided` are that fact in integers.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass

from agriseg.errors import GridError


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, in rasterio's order. Non-negative offsets, sizes of at least one pixel."""

    col_off: int
    row_off: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.col_off < 0 or self.row_off < 0:
            raise GridError(f"{self} starts outside the raster; offsets must be 0 or more")
        if self.width < 1 or self.height < 1:
            raise GridError(f"{self} is empty; width and height must be 1 or more")

    def __str__(self) -> str:
        return f"window {self.col_off},{self.row_off},{self.width},{self.height}"

    @property
    def col_stop(self) -> int:
        """First column right of the window (px)."""
        return self.col_off + self.width

    @property
    def row_stop(self) -> int:
        """First row below the window (px)."""
        return self.row_off + self.height

    def within(self, outer: "Window") -> tuple[slice, slice]:
        """Row and column slice for an array of a window around this one."""
        top, left = self.row_off - outer.row_off, self.col_off - outer.col_off
        return slice(top, top + self.height), slice(left, left + self.width)


def intersection(one: Window, other: Window) -> Window | None:
    """What two windows share, or None."""
    left, top = max(one.col_off, other.col_off), max(one.row_off, other.row_off)
    right, bottom = min(one.col_stop, other.col_stop), min(one.row_stop, other.row_stop)
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


@dataclass(frozen=True)
class BlendPreset:
    """How tiles blend where the user gives no overlap or margin.

    Args:
        overlap_share: overlap as a share of the tile. An exact preset takes twice the receptive half-width instead.
        margin_share: largest margin as a share of the overlap.
        exact: whether the margin covers all that the network sees, so that the map equals an untiled run.
    """

    overlap_share: float
    margin_share: float
    exact: bool


PRESETS = {
    "exact": BlendPreset(0, 1 / 2, exact=True),
    "smooth": BlendPreset(1 / 4, 3 / 8, exact=False),
    "fast": BlendPreset(1 / 8, 1 / 2, exact=False),
}


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis of a raster; all lengths in pixels.

    Args:
        size: length of the raster.
        tile: length of a tile of the options; an axis that it covers has one tile.
        overlap: pixels that neighbours share, at most half a tile.
        margin: pixels at a tile's inner edge with weight 0, at most half the overlap.
        stride: pixels per cell of the logits.
        align: coarsest step of the network; tiles sit on its multiples.
    """

    size: int
    tile: int
    overlap: int
    margin: int
    stride: int = 1
    align: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise GridError(f"a raster of {self.size} px cannot be tiled; it needs at least 1 px")
        _multiple("tile", self.tile, self.align, least=self.align)
        _multiple("overlap", self.overlap, self.align, least=0)
        _multiple("margin", self.margin, self.stride, least=0)
        if 2 * self.overlap > self.tile:
            raise GridError(
                f"overlap {self.overlap} is more than half of tile {self.tile}; use at most {self.tile // 2}"
            )
        if 2 * self.margin > self.overlap:
            raise GridError(
                f"margin {self.margin} is more than half of overlap {self.overlap}; use at most {self.overlap // 2}"
            )

    @property
    def padded(self) -> int:
        """Length after padding to a multiple of `align`."""
        return -(-self.size // self.align) * self.align

    @property
    def length(self) -> int:
        """Length of every tile on this axis: `tile`, or less where the raster is smaller."""
        return min(self.tile, self.padded)

    @property
    def step(self) -> int:
        """Distance between the nominal starts of neighbours."""
        return self.tile - self.overlap

    def __len__(self) -> int:
        return max(1, -(-(self.padded - self.overlap) // self.step))

    def origin(self, index: int) -> int:
        """First pixel of tile `index`."""
        return min(index * self.step, self.padded - self.length)

    def blend_zone(self, index: int) -> tuple[int, int]:
        """Pixels over which the weight passes from tile `index - 1` to tile `index`; half-open."""
        start = index * self.step
        return start + self.margin, start + self.overlap - self.margin

    @property
    def seams(self) -> list[int]:
        """Pixels at which one tile takes over from the one before it: the middle of each blend zone."""
        return [sum(self.blend_zone(index)) // 2 for index in range(1, len(self))]

    def footprint(self, index: int) -> tuple[int, int]:
        """Pixels on which tile `index` has weight; half-open, in the padded axis."""
        first = 0 if index == 0 else self.blend_zone(index)[0]
        last = self.padded if index == len(self) - 1 else self.blend_zone(index + 1)[1]
        return first, last

    def first_undecided(self, index: int) -> int:
        """First pixel that the tiles before `index` alone do not decide, kept on the block boundary.

        Upsampling reaches half a cell beyond a pixel, so without a margin the last half cell before a
        tile's start waits for that tile.
        """
        if index <= 0:
            return 0
        if index >= len(self):
            return self.size
        return index * self.step - self.block_offset

    @property
    def block_offset(self) -> int:
        """How far the block boundaries lie before the tiles' starts: 0, or half a cell without margin."""
        return max(0, self.stride // 2 - self.margin)

    def logit_cells(self, start: int, stop: int) -> tuple[int, int]:
        """Cells that the pixels `[start, stop)` need under bilinear upsampling; half-open."""
        if self.stride == 1:
            return start, stop
        half = self.stride // 2
        last = min((stop - 1 - half) // self.stride + 1, self.padded // self.stride - 1)
        return max(0, (start - half) // self.stride), last + 1

    def tiles(self, start: int, stop: int) -> range:
        """Tiles with weight on the cells that the pixels `[start, stop)` need."""
        first, last = (cell * self.stride for cell in self.logit_cells(start, stop))
        lowest = (first - self.overlap + self.margin) // self.step
        highest = -(-(last - self.margin) // self.step) - 1
        final = len(self) - 1
        return range(min(max(lowest, 0), final), min(max(highest, 0), final) + 1)


@dataclass(frozen=True)
class Tile:
    """One inference cell of the grid: its place in the grid and its window in the padded raster."""

    row: int
    col: int
    window: Window


@dataclass(frozen=True)
class Tiling:
    """How both axes of a raster are cut; the arguments are those of `Axis`."""

    tile: int
    overlap: int
    margin: int
    stride: int = 1
    align: int = 1


@dataclass(frozen=True)
class TileGrid:
    """All tiles of a raster: the product of two axes. `grid[row, col]` is a `Tile`.

    >>> grid = TileGrid.over(700, 1000, Tiling(tile=256, overlap=64, margin=16))
    >>> len(grid), grid[0, 1].window
    (24, Window(col_off=192, row_off=0, width=256, height=256))
    """

    rows: Axis
    cols: Axis

    @classmethod
    def over(cls, height: int, width: int, tiling: Tiling) -> "TileGrid":
        """The grid over a raster of `height` x `width` pixels."""
        return cls(*(Axis(size, *astuple(tiling)) for size in (height, width)))

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __getitem__(self, index: tuple[int, int]) -> Tile:
        row, col = index
        if not (0 <= row < len(self.rows) and 0 <= col < len(self.cols)):
            raise IndexError(f"tile {row},{col} is outside a grid of {len(self.rows)} x {len(self.cols)}")
        window = Window(self.cols.origin(col), self.rows.origin(row), self.cols.length, self.rows.length)
        return Tile(row, col, window)

    def without_padding(self, tile: Tile) -> Window:
        """The pixels of a tile that lie within the raster."""
        col, row = tile.window.col_off, tile.window.row_off
        right, bottom = min(tile.window.col_stop, self.cols.size), min(tile.window.row_stop, self.rows.size)
        return Window(col, row, right - col, bottom - row)

    def __iter__(self) -> Iterator[Tile]:
        return (self[row, col] for row in range(len(self.rows)) for col in range(len(self.cols)))

    @property
    def stride(self) -> int:
        """Pixels per cell of the logits."""
        return self.rows.stride


def _multiple(name: str, value: int, step: int, *, least: int) -> None:
    """Refuse a length below `least` or off the multiples of `step`, naming the nearest good ones."""
    if value < least:
        raise GridError(f"{name} {value} is too small; use at least {least}")
    if value % step:
        lower, upper = value - value % step, value - value % step + step
        near = f"{lower} or {upper}" if lower >= least else f"{upper}"
        raise GridError(f"{name} {value} is not a multiple of {step} (the network's step in pixels); use {near}")
