"""The one rule that says which pixels are data.

A pixel is data unless the file says otherwise: by a declared nodata value in every band, by an alpha of 0, by
an internal mask or a .msk file, or by a number that is none (NaN, infinity) in a band that is used. A zero
alone says nothing: black is data.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import UsageError
from agriseg.raster.info import RasterInfo


@dataclass(frozen=True)
class ValidityRule:
    """Which pixels of a raster are data.

    Args:
        nodata: band number and its declared value; a pixel with all of them is not data.
        alpha: numbers of the bands whose 0 means no data.
        file_mask: whether an internal or sidecar mask is read as well.
    """

    nodata: tuple[tuple[int, float], ...]
    alpha: tuple[int, ...]
    file_mask: bool

    @classmethod
    def of(cls, info: RasterInfo, *, nodata: float | None = None, alpha: tuple[int, ...] = ()) -> "ValidityRule":
        """The rule for a raster.

        Args:
            info: its header.
            nodata: a value the user declares where the file does not, for all bands that are not alpha.
            alpha: bands the user declares to be alpha, beside those that are tagged.
        """
        alphas = tuple(sorted({*info.alpha, *alpha}))
        if nodata is not None:
            colours = [band for band in range(1, info.count + 1) if band not in alphas]
            return cls(tuple((band, nodata) for band in colours), alphas, info.file_mask)
        declared = [(band, value) for band, value in enumerate(info.nodata, 1) if value is not None]
        # As GDAL's dataset mask: a pixel with data in any band is data, a band without a value is all data.
        return cls(tuple(declared) if len(declared) == info.count else (), alphas, info.file_mask)

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers of the bands that the rule looks at."""
        return tuple(sorted({*self.alpha, *(band for band, _ in self.nodata)}))

    def __call__(
        self,
        stored: Mapping[int, NDArray[np.generic]],
        used: tuple[int, ...],
        file_mask: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.bool_]:
        """Apply the rule.

        Args:
            stored: band number to (h, w) array; holds `self.bands` and `used`.
            used: numbers of the bands that go to the network; they must be finite.
            file_mask: (h, w) uint8, 0 is no data; needed when `self.file_mask`.

        Returns:
            (h, w) bool, True is data.
        """
        first = stored[used[0]]
        valid = np.ones(first.shape, bool)
        if self.nodata:
            valid &= ~np.logical_and.reduce([_equals(stored[band], value) for band, value in self.nodata])
        for band in self.alpha:
            valid &= stored[band] != 0
        if file_mask is not None:
            valid &= file_mask != 0
        if first.dtype.kind == "f":
            for band in used:
                valid &= np.isfinite(stored[band])
        return valid


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
    return np.asarray(band == band.dtype.type(value))
