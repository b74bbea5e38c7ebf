"""The one rule that says which pixels are data, for what they are used for.

A pixel is data unless the file or the user says otherwise, of the bands that are used: by a declared nodata value,
by an alpha of 0, by an internal mask or a .msk file, or by a number that is none (NaN, infinity). Bands that are not
used say nothing. A zero that nobody has declared says nothing either: black is data.

One band with its declared value is enough, with one exception: the numbers of 8-bit colours are so few that a leaf has
a blue of 0, and a cloud a red of 255, in a mosaic that declares just these. A network still sees what it was trained
on there, so such a pixel has no data only where all bands hold their value. An index has no such use of it.
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
        use: what the pixels are read for.
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
            info: its header.
            nodata: a value that the user declares beside the file's own, for all bands that are not alpha.
            alpha: bands the user declares to be alpha, beside those that are tagged.
            use: what the pixels are read for.
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
        """Apply the rule.

        Args:
            stored: band number to (h, w) array; holds `self.alpha` and `used`.
            used: numbers of the bands that are used.
            file_mask: (h, w) uint8, 0 is no data; needed when `self.file_mask`.

        Returns:
            (h, w) bool, True is data.
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
