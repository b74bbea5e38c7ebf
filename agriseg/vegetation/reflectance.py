"""How the stored numbers of a raster become reflectance, 0 to 1, for an index."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.raster.header import RasterInfo
from agriseg.raster.pixel_sample import Sample
from agriseg.vegetation.formulas import Index
from agriseg.vegetation.sensors import Sensor

_BRIGHTEST = 10.0  # reflectance that nothing has, glint and clouds included
_MEANS = (-0.01, 1.5)  # reflectance that a band has on average, dark water under haze to snow
_DARKEST = 0.001  # reflectance that some band has on average
_EIGHT_BIT = 1 / 255  # what is left to take for the scale of 8-bit numbers


@dataclass(frozen=True)
class Units:
    """Reflectance = stored * scale + offset, band by band in the order of an index.

    Args:
        by_user: whether the scale is the user's.
        by_tags: whether scale and offset are the file's own tags.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    by_user: bool = False
    by_tags: bool = False

    @classmethod
    def of(
        cls, index: Index, info: RasterInfo, bands: Sequence[int], user_scale: float | None, sensor: Sensor | None
    ) -> "Units":
        """By the user, else the file's own tags, else the camera (16-bit numbers only), else the type of the numbers.

        Raises:
            DataError: the index needs reflectance, and nothing says how to get it.
        """
        count = len(bands)
        if user_scale is not None:
            return cls((user_scale,) * count, (0.0,) * count, by_user=True)
        if info.tagged(bands):
            scale, offset = (tuple(each[band - 1] for band in bands) for each in (info.scales, info.offsets))
            return cls(scale, offset, by_tags=True)
        return cls((_by_type(index, info.dtype, sensor),) * count, (0.0,) * count)

    def __call__(self, stored: NDArray[np.generic]) -> NDArray[np.float64]:
        """Reflectances (C, h, w) of stored numbers (C, h, w)."""
        shape = (-1, 1, 1)
        scale, offset = (np.array(each).reshape(shape) for each in (self.scale, self.offset))
        return np.asarray(stored.astype(np.float64) * scale + offset, np.float64)

    @property
    def cancels(self) -> bool:
        """Whether a ratio of bands is the same without it."""
        return not any(self.offset) and len(set(self.scale)) == 1 and 0 < self.scale[0] < float("inf")

    @property
    def text(self) -> str:
        """For a reader: `scale 0.0001, offset -0.1`."""
        parts = [f"scale {_plain(self.scale)}"] + ([f"offset {_plain(self.offset)}"] if any(self.offset) else [])
        return ", ".join(parts)


def _plain(numbers: Sequence[float]) -> str:
    """One number for all bands, or all of them."""
    return " ".join(f"{number:.6g}" for number in (numbers[:1] if len(set(numbers)) == 1 else numbers))


def _by_type(index: Index, dtype: str, sensor: Sensor | None) -> float:
    """Reflectance of one count, where neither the user nor the file defines it."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return 1.0
    if dtype == "uint8":
        return _EIGHT_BIT
    if sensor is not None and sensor.scale is not None and kind.itemsize == 2:
        return sensor.scale
    if index.kind == "ratio":
        return 1.0
    raise DataError(
        f"{index.name} needs reflectances 0 to 1, the file holds {dtype} and nothing says their scale; give "
        "--scale, such as 0.0001 where 10000 is all light, or a --sensor that has one"
    )


def doubts(index: Index, info: RasterInfo, sample: Sample, units: Units) -> list[str]:
    """Warnings for a reader of an index of these numbers; `sample` and `units` are of its bands.

    Raises:
        DataError: the numbers are no reflectance, the index needs such, and the scale is not the user's.
    """
    infrared = {"nir", "red_edge"} & {*index.roles}
    if info.dtype == "uint8" and not (units.by_user or units.by_tags) and (index.kind == "additive" or infrared):
        return [
            f"{index.name} is made for reflectance, and 8-bit numbers are mostly stretched for display: "
            "compare within this image only, not with other days or thresholds"
        ]
    if sample.mean is None or (index.kind == "ratio" and units.cancels):
        return []
    highest, mean = (units(np.reshape(each, (-1, 1, 1))).ravel() for each in (sample.highest, sample.mean))
    if units.by_tags:
        _check_tags(index, units, mean, _step(sample))
    if highest.max() <= _BRIGHTEST or index.kind == "ratio":
        return []
    text = (
        f"{index.name} needs reflectances 0 to 1, the numbers go up to {max(sample.highest):g}, and with {units.text} "
        f"that is {highest.max():g}"
    )
    if not units.by_user:
        raise DataError(f"{text}; {_step(sample)}")
    return [text]


def _check_tags(index: Index, units: Units, mean: NDArray[np.float64], step: str) -> None:
    """Refuse the file's own scale and offset where they make what no ground reflects."""
    strange = ~((mean >= _MEANS[0]) & (mean <= _MEANS[1]))  # NaN is strange
    if not strange.any() and mean.max() >= _DARKEST:
        return
    worst = int(strange.argmax()) if strange.any() else int(mean.argmax())
    raise DataError(
        f"by the file's own tags ({units.text}) the reflectance of {index.roles[worst]} is {mean[worst]:.3g} on "
        f"average, which cannot be; {step}"
    )


def _step(sample: Sample) -> str:
    """What helps against numbers that are no reflectance."""
    scale = "say with --scale what one count is, such as 0.0001 where 10000 is all light"
    return f"if the plain border is empty, add --nodata {sample.collar.value}; else {scale}" if sample.collar else scale
