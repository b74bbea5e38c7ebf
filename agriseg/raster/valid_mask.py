"""The one rule that says which pixels are data, for each use of them.

A pixel is data unless one of the used bands has a declared nodata value, NaN or infinity there, or an alpha of 0, an
internal mask or a .msk file excludes it. Bands that are not used do not count. An undeclared zero is data: black.

One band with its declared value is enough, with one exception: 8-bit colours have so few numbers that a leaf has a
blue of 0, and a cloud a red of 255, in a mosaic that declares these values. A network was trained on such pixels, so
for it a pixel has no data only where all bands hold their value. An index cannot use them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import UsageError
from agriseg.raster.header import RasterInfo


class Use(Enum):
    """What pixels are read for."""

    NETWORK = "network"
    """A network, labels, a registration: 8-bit colours are data unless all bands hold their declared value."""
    INDEX = "index"
    """Arithmetic between bands: one band that holds its declared value is enough."""


@dataclass(frozen=True)
class ValidityRule:
    """Which pixels of a raster are data.

    Args:
        nodata: band number and a value that is declared for it; a band may have several.
        alpha: numbers of the bands whose 0 means no data.
        file_mask: whether an internal or sidecar mask is read as well.
    """

    nodata: tuple[tuple[int, float], ...]
    alpha: tuple[int, ...]
    file_mask: bool
    use: Use = Use.NETWORK

    @classmethod
    def of(
        cls, info: RasterInfo, *, nodata: float | None = None, alpha: tuple[int, ...] = (), use: Use = Use.NETWORK
    ) -> "ValidityRule":
        """The rule for a raster.

        Args:
            nodata: the user's value beside the file's own, for all bands that are not alpha.
            alpha: the user's alpha bands, beside those that are tagged.
        """
        alphas = tuple(sorted({*info.alpha, *alpha}))
        values = [(band, value) for band, own in enumerate(info.nodata, 1) for value in (own, nodata)]
        declared = [(band, value) for band, value in values if value is not None and band not in alphas]
        return cls(tuple(declared), alphas, info.file_mask, use)

    def __call__(
        self,
        stored: Mapping[int, NDArray[np.generic]],
        used: tuple[int, ...],
        file_mask: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.bool_]:
        """Apply the rule; returns (h, w) bool, True is data.

        Args:
            stored: band number to (h, w) array; holds `self.alpha` and `used`.
            used: numbers of the bands that are used.
            file_mask: (h, w) uint8, 0 is no data; needed when `self.file_mask`.
        """
        first = stored[used[0]]
        valid = ~self._declared(stored, used)
        for band in self.alpha:
            valid &= stored[band] != 0
        if file_mask is not None:
            valid &= file_mask != 0
        if first.dtype.kind == "f":
            for band in used:
                valid &= np.isfinite(stored[band])
        return valid

    def _declared(self, stored: Mapping[int, NDArray[np.generic]], used: tuple[int, ...]) -> NDArray[np.bool_]:
        """Where declared values make a pixel no data."""
        first = stored[used[0]]
        one_is_enough = self.use is Use.INDEX or first.dtype != np.uint8
        hidden = np.full(first.shape, not one_is_enough)
        for band in used:
            holds = np.zeros(first.shape, bool)
            for value in (value for number, value in self.nodata if number == band):
                holds |= _equals(stored[band], value)
            hidden = hidden | holds if one_is_enough else hidden & holds
        return hidden


def check_nodata(value: float, dtype: str) -> None:
    """Refuse a user's nodata value that no pixel of this type can have."""
    if not _fits(value, np.dtype(dtype)):
        raise UsageError(f"--nodata {value:g} cannot occur in {dtype} pixels; give a value of that type")


def _fits(value: float, dtype: np.dtype[np.generic]) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype.name)
    return float(value).is_integer() and limits.min <= value <= limits.max


def _equals(band: NDArray[np.generic], value: float) -> NDArray[np.bool_]:
    """Where a band holds a declared value; a value beyond its type is nowhere."""
    if np.isnan(value):
        return np.isnan(band) if band.dtype.kind == "f" else np.zeros(band.shape, bool)
    if not _fits(value, band.dtype):
        return np.zeros(band.shape, bool)
    with np.errstate(over="ignore"):  # of a value beyond float32, which is then infinity
        return np.asarray(band == band.dtype.type(value))
