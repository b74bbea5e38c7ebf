"""A sample of the pixels of a raster, for checks that need not read all of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.raster.reader import Reader, Source

ENOUGH = 32_768
"""Valid pixels from which a sample stands for the numbers of a raster."""
_ALL_PIXELS = 4_000_000  # windows up to this size are read whole
_LATTICES = (8, 16, 32, 64)  # patches a side, tried in turn until enough of the field is sampled
_PATCH = 64  # px
_CORNER = 4  # px
_JPEG = 3  # grey levels by which a lossy collar differs from its colour


@dataclass(frozen=True)
class Collar:
    """A plain margin that counts as data.

    Args:
        value: of all used bands, in two or more corners, as text that `float` reads back.
        exact: whether all pixels there have this value; else a few grey levels more or less, as JPEG leaves them.
    """

    value: str
    exact: bool


@dataclass(frozen=True)
class Sample:
    """Statistics of a sample of pixels.

    Args:
        valid: number of valid pixels.
        valid_share: share of valid pixels, 0 to 1.
        complete: whether the whole window was read.
        highest: largest valid number per used band; 0 without one.
        mean: of the valid pixels, per used band; None without one.
        mask_like: number of the last band if it holds only 0 and one other value and no tag names it.
        collar: of the window; None without one.
    """

    valid: int
    valid_share: float
    complete: bool
    highest: tuple[float, ...]
    mean: tuple[float, ...] | None
    mask_like: int | None
    collar: Collar | None

    @property
    def enough(self) -> bool:
        """Whether it stands for the numbers of the raster, wherever in it the field lies."""
        return self.complete or self.valid >= ENOUGH


def take_sample(source: Source, window: Window | None = None) -> Sample:
    """Read a raster, or a window of it, on its own grid: whole if small, else patches on a lattice.

    If few pixels of the lattice are valid, a finer one is tried: the finest has patches at every 64th of a side. A
    smaller field may be missed, see `Sample.enough`. DataError if a patch cannot be read.
    """
    info = source.info
    window = window or Window(0, 0, info.width, info.height)
    with Reader(source) as reader:
        if complete := window.width * window.height <= _ALL_PIXELS:
            patches, seen = [window], _look(reader, [window])
        else:
            for count in _LATTICES:
                patches = _lattice(window, count)
                seen = _look(reader, patches)
                if seen.valid >= ENOUGH:
                    break
            complete = sum(patch.width * patch.height for patch in patches) == window.width * window.height
        collar = _collar(reader, window)
    return Sample(
        seen.valid, seen.valid / seen.pixels, complete, tuple(seen.highest.tolist()),
        tuple((seen.sums / seen.valid).tolist()) if seen.valid else None, _mask_like(source, patches), collar,
    )  # fmt: skip


@dataclass(frozen=True)
class _Seen:
    """Pixels of some patches: how many, how many valid, and of these the largest number and the sum per band."""

    pixels: int
    valid: int
    highest: NDArray[np.float64]
    sums: NDArray[np.float64]


def _look(reader: Reader, patches: Iterable[Window]) -> _Seen:
    pixels, valid, highest, sums = 0, 0, np.float64(-np.inf), np.float64(0)
    for patch in patches:
        strip = reader.read(patch)
        used = strip.pixels[:, strip.valid]
        pixels, valid = pixels + strip.valid.size, valid + used.shape[1]
        if used.size:
            highest = np.maximum(highest, used.max(1))
        sums = sums + used.sum(1, dtype=np.float64)
    return _Seen(pixels, valid, np.where(np.isfinite(highest), highest, np.zeros_like(sums)), np.asarray(sums))


def _mask_like(source: Source, patches: Iterable[Window]) -> int | None:
    """Number of the last band, if it looks like an untagged mask."""
    last = source.info.count
    named = source.info.descriptions[-1] or source.info.colours[-1].name not in ("undefined", "gray")
    if last == 1 or named:
        return None
    seen: set[float] = set()
    with Reader(replace(source, bands=(last,))) as reader:
        for patch in patches:
            seen |= set(np.unique(reader.read(patch).pixels).tolist())
            if len(seen) > 2:
                return None
    return last if len(seen) == 2 and 0 in seen else None


def _lattice(window: Window, count: int) -> list[Window]:
    """Patches spread evenly over a window, `count` a side; side by side where they would overlap."""
    cols = _spread(window.col_off, window.width, count)
    rows = _spread(window.row_off, window.height, count)
    return [Window(col, row, width, height) for row, height in rows for col, width in cols]


def _spread(start: int, length: int, count: int) -> list[tuple[int, int]]:
    """Start and length of patches along an axis."""
    if length <= count * _PATCH:
        return [(start + at, min(_PATCH, length - at)) for at in range(0, length, _PATCH)]
    return [(start + int(at), _PATCH) for at in np.linspace(0, length - _PATCH, count)]


def _collar(reader: Reader, window: Window) -> Collar | None:
    """The one value that two corners or more hold in all used bands, if they hold nothing else."""
    corners = [plain for corner in _corners(window) if (plain := _plain(reader, corner))]
    values = [plain.value for plain in corners]
    for value in values:
        if values.count(value) > 1:
            return Collar(value, all(plain.exact for plain in corners if plain.value == value))
    return None


def _plain(reader: Reader, corner: Window) -> Collar | None:
    """A corner's one colour: valid and the same in all bands, or of 8 bits and nearly black or white; else None."""
    strip = reader.read(corner)
    low, high = float(strip.pixels.min()), float(strip.pixels.max())
    if not strip.valid.all():
        return None
    if low == high:
        return Collar(str(int(low)) if low.is_integer() and abs(low) < 1e15 else str(strip.pixels.min()), exact=True)
    if strip.pixels.dtype == np.uint8 and (high <= _JPEG or low >= 255 - _JPEG):
        return Collar("0" if high <= _JPEG else "255", exact=False)
    return None


def _corners(window: Window) -> list[Window]:
    """The corners, as far as the window has room for them."""
    width, height = min(_CORNER, window.width), min(_CORNER, window.height)
    cols = {window.col_off, window.col_stop - width}
    rows = {window.row_off, window.row_stop - height}
    return [Window(col, row, width, height) for row in sorted(rows) for col in sorted(cols)]
