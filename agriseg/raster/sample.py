"""A look at a raster without reading all of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from agriseg.grid import Window
from agriseg.raster.reader import Reader, Source

_ALL_PIXELS = 4_000_000  # rasters up to this size are read whole
_PATCHES = 8  # per side, of larger ones
_PATCH = 64  # px


@dataclass(frozen=True)
class Sample:
    """What a sample of pixels shows.

    Args:
        valid_share: share of valid pixels, 0 to 1.
        complete: whether the whole raster was looked at.
        highest: largest valid number in the used bands; 0 without one.
        mean: of the valid pixels, per used band; None without one.
        mask_like: number of the last band if it holds just 0 and one other value and nothing says what it is.
        black_border: whether all four corners are 0 in all used bands.
    """

    valid_share: float
    complete: bool
    highest: float
    mean: tuple[float, ...] | None
    mask_like: int | None
    black_border: bool


def take_sample(source: Source) -> Sample:
    """Look at a raster on its own grid: whole if small, else at patches on a lattice.

    Raises:
        DataError: a patch cannot be read; the window is named.
    """
    info = source.info
    complete = info.width * info.height <= _ALL_PIXELS
    windows = [Window(0, 0, info.width, info.height)] if complete else _lattice(info.width, info.height)
    pixels, valid, highest, sums = 0, 0, 0.0, np.zeros(len(source.bands))
    with Reader(source) as reader:
        for window in windows:
            strip = reader.read(window)
            used = strip.pixels[:, strip.valid]
            pixels, valid = pixels + strip.valid.size, valid + int(strip.valid.sum())
            highest = max(highest, float(used.max(initial=0)))
            sums += used.sum(1, dtype=np.float64)
        black = not any(reader.read(corner).pixels.any() for corner in _corners(info.width, info.height))
    mean = tuple((sums / valid).tolist()) if valid else None
    return Sample(valid / pixels, complete, highest, mean, _mask_like(source, windows), black)


def _mask_like(source: Source, windows: Iterable[Window]) -> int | None:
    """The last band, if it looks like an untagged mask."""
    last = source.info.count
    named = source.info.descriptions[-1] or source.info.colours[-1].name not in ("undefined", "gray")
    if last == 1 or named:
        return None
    seen: set[float] = set()
    with Reader(replace(source, bands=(last,))) as reader:
        for window in windows:
            seen |= set(np.unique(reader.read(window).pixels).tolist())
            if len(seen) > 2:
                return None
    return last if len(seen) == 2 and 0 in seen else None


def _lattice(width: int, height: int) -> list[Window]:
    """Patches spread evenly over a raster."""
    cols, rows = (np.linspace(0, length - min(_PATCH, length), _PATCHES).astype(int) for length in (width, height))
    return [Window(int(c), int(r), min(_PATCH, width), min(_PATCH, height)) for r in rows for c in cols]


def _corners(width: int, height: int) -> list[Window]:
    return [Window(col, row, 1, 1) for row in {0, height - 1} for col in {0, width - 1}]
