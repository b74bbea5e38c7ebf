"""Co-registration: the shift between two images of a field, from the position errors of two flights.

Image patches are compared by phase correlation (Kuglin and Hines 1975), which depends on structure and not on
brightness. Its input is the gradient magnitude: the edges of a crop keep their place when the crop turns from darker to
brighter than its soil. Patches must agree: images of different ground give each patch another shift.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_gradient_magnitude

from agriseg.change.regrid import RegriddedGray
from agriseg.errors import DataError
from agriseg.grid import Window
from agriseg.raster.georeference import Georeference
from agriseg.raster.reader import Source

LEAST_SIDE = 128
"""Pixels that two images must share along each side."""
LEAST_PATCHES = 5
LEAST_AGREEMENT = 0.5
"""Patches that must agree, and their share; of different ground one in eight does at most."""
AGREE_PX = 2.0
"""How far from the others' a patch's shift may be: orthomosaics are a little distorted."""

_PER_SIDE = 6  # patches; 36 at most are read of a raster of any size
_PATCH, _SMALL_PATCH = 512, 64  # px
_COARSE = 4  # px of the grid per pixel of the first comparison, which finds shifts up to a third of its patch
_RADIUS = 16  # px around the shift of the first comparison
_SIGMA = 1.0  # px of the Gaussian under the gradient
_EDGE = 4  # px from nodata within which a gradient shows the border of the image
_LEAST_VALID = 0.5  # of a patch, in both images
_FINE = 20  # parts of a pixel
_FAINT = 1e-6  # of the strongest frequency; what is fainter is rounding

Spectrum = NDArray[np.complex64]


class NoCommonGround(DataError):
    """The shift between two images cannot be measured. Exit code 65."""


@dataclass(frozen=True)
class Shift:
    """Offset of the later image from the earlier one.

    Args:
        cols, rows: pixels of the grid, rightwards and downwards.
        metres_east, metres_north: the same on the ground; None where that is unknown.
        agreement: share of the compared patches that show it, within 2 px of each other.
        patches: number of compared patches.
        spread: median distance (px) of their shifts from this one: its uncertainty, and the images' distortion.
    """

    cols: float
    rows: float
    metres_east: float | None
    metres_north: float | None
    agreement: float
    patches: int
    spread: float

    @property
    def pixels(self) -> float:
        """Length (px)."""
        return math.hypot(self.cols, self.rows)

    @property
    def metres(self) -> float | None:
        """Length on the ground."""
        if self.metres_east is None or self.metres_north is None:
            return None
        return math.hypot(self.metres_east, self.metres_north)


def measure_shift(earlier: Source, later: Source, grid: Georeference, window: Window) -> Shift:
    """Measure the shift between two images of any grid, in pixels of `grid`; the bands of an image are averaged.

    The window is the part of the grid that both images cover, at least partly.

    Raises:
        NoCommonGround: the window is too small, or too few patches agree.
        DataError: a block cannot be decoded.
    """
    short = min(window.width, window.height)
    both = f"{earlier.info.path.name}, {later.info.path.name}"
    if short < LEAST_SIDE:
        raise NoCommonGround(
            f"{both}: share {window.width} x {window.height} px, expected {LEAST_SIDE} each way to measure how they "
            "lie; --no-align takes them as they lie"
        )
    coarse = min(_COARSE, short // LEAST_SIDE)
    stacked = sum(_spectra(earlier, later, grid, window, coarse), start=np.zeros((1, 1), np.complex64))
    rough = coarse * np.rint(_peak(stacked, len(stacked) // 3))  # of all patches together, whole pixels of a patch
    spectra = _spectra(earlier, later, grid, window, 1, rough)
    shifts = rough + np.array([_peak(each, _RADIUS) for each in spectra]).reshape(-1, 2)
    agreeing = _agreeing(shifts)
    if agreeing.sum() < max(LEAST_PATCHES, LEAST_AGREEMENT * len(shifts)):
        raise NoCommonGround(
            f"{both}: the two images do not show the same ground, or too much has changed: {agreeing.sum()} of "
            f"{len(shifts)} patches agree on a shift; --no-align takes them as they lie"
        )
    rows, cols = (float(axis) for axis in np.median(shifts[agreeing], axis=0).round(3) + 0.0)  # no -0
    spread = float(np.median(np.hypot(*(shifts[agreeing] - (rows, cols)).T)))
    east, north = _on_the_ground(grid, window, rows, cols)
    return Shift(cols, rows, east, north, float(agreeing.mean()), len(shifts), spread)


def _spectra(
    earlier: Source,
    later: Source,
    grid: Georeference,
    window: Window,
    factor: int,
    ahead: NDArray[np.float64] | None = None,
) -> Iterator[Spectrum]:
    """Cross-power spectra of all patches that are valid enough in both images.

    A pixel of a patch is `factor` pixels of the grid. `ahead` are rows and columns (px of the grid) to add to the
    positions at which the later image is read.
    """
    grid, ahead = grid.shifted(0, 0, factor, factor), np.zeros(2) if ahead is None else ahead
    top, left, height, width = (n // factor for n in (window.row_off, window.col_off, window.height, window.width))
    side = min(_PATCH, max(min(height, width) // 3, _SMALL_PATCH))
    middle = top + height / 2, left + width / 2
    with RegriddedGray(earlier, grid, middle) as one, RegriddedGray(later, grid, middle) as two:
        for row, col in product(_starts(top, height, side), _starts(left, width, side)):
            rows, cols = row + np.arange(side, dtype=np.float64), col + np.arange(side, dtype=np.float64)
            first = _edges(*one.read(rows, cols))
            second = _edges(*two.read(rows + ahead[0] / factor, cols + ahead[1] / factor))
            if first is not None and second is not None:
                yield _spectrum(first, second)


def _starts(start: int, length: int, side: int) -> list[int]:
    """First pixel of each patch along an axis; neighbours share at most half."""
    count = min(_PER_SIDE, 1 + (length - side) // (side // 2))
    return [start + int(place) for place in np.linspace(0, length - side, count)]


def _edges(grey: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Strength of edges, with mean 0 and fading to the border; None if too little is valid.

    The square root keeps a few strong edges, such as shadows and roofs, from outweighing the many weak ones.
    """
    inner = binary_erosion(valid, iterations=_EDGE, border_value=1)
    if inner.mean() < _LEAST_VALID:
        return None
    strength = np.sqrt(gaussian_gradient_magnitude(grey, _SIGMA))
    strength = np.where(inner, strength - strength[inner].mean(), 0)
    fade = np.hanning(len(grey)).astype(np.float32)
    return strength * fade[:, None] * fade if strength.any() else None


def _spectrum(one: NDArray[np.float32], two: NDArray[np.float32]) -> Spectrum:
    """(n, n) cross-power spectrum; each frequency has length 1, so only its phase counts."""
    power = np.conj(scipy.fft.fft2(one)) * scipy.fft.fft2(two)
    length = np.abs(power)
    return np.asarray(power / (length + _FAINT * length.max()), np.complex64)


def _peak(spectrum: Spectrum, radius: int) -> NDArray[np.float64]:
    """Rows and columns by which the second image is shifted, to a twentieth of a pixel.

    The highest whole pixel within the radius is refined by a Fourier series in finer steps around it (Guizar-Sicairos,
    Thurman and Fienup 2008, "Efficient subpixel image registration algorithms").
    """
    around = np.roll(scipy.fft.ifft2(spectrum).real, (radius, radius), (0, 1))[: 2 * radius + 1, : 2 * radius + 1]
    highest = np.array(np.unravel_index(around.argmax(), around.shape)) - radius
    steps = np.arange(-_FINE, _FINE + 1) / _FINE
    turns = 2j * np.pi * scipy.fft.fftfreq(len(spectrum))
    row, col = (np.exp(np.outer(place + steps, turns)) for place in highest)
    fine = (row @ spectrum @ col.T).real
    return highest + steps[np.array(np.unravel_index(fine.argmax(), fine.shape))]


def _agreeing(shifts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which shifts (P, 2) are near the one that has most others near it."""
    near = np.hypot(*(shifts[:, None] - shifts[None]).transpose(2, 0, 1)) <= AGREE_PX
    return near[near.sum(1).argmax()] if len(shifts) else np.zeros(0, bool)


def _on_the_ground(grid: Georeference, window: Window, rows: float, cols: float) -> tuple[float | None, float | None]:
    """Metres east and north."""
    sides = grid.pixel_sides(window.col_off + window.width / 2, window.row_off + window.height / 2)
    if sides is None:
        return None, None
    east, north = np.array([cols, rows]) @ sides[0]
    return round(float(east), 6), round(float(north), 6)
