"""Statistics of the training pixels: constants of the model, and what its verdict compares a raster with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.grid import Window
from agriseg.labels.scene import Scene
from agriseg.model import SegmentationModel

_WINDOWS, _WINDOW = 16, 256  # per scene, and their side (px)
_FEW = 4096  # valid pixels; with fewer in these windows the whole scene is read
_ROUNDING = 1e-6  # of the mean: a deviation below it is the rounding of sums


@dataclass(frozen=True)
class BandStatistics:
    """Mean and standard deviation per band, and the (C, C) correlation between the bands."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    correlation: list[list[float]]


class _OneValue(DataError):
    """A band is the same everywhere."""


class _Sums:
    """Sums over columns of numbers (C, n), from which the statistics follow."""

    def __init__(self, bands: int) -> None:
        self._count, self._sums, self._products = 0, np.zeros(bands), np.zeros((bands, bands))

    def add(self, values: NDArray[np.float64]) -> None:
        self._count += values.shape[1]
        self._sums += values.sum(1)
        self._products += values @ values.T

    def statistics(self, roles: Sequence[str]) -> BandStatistics:
        """DataError without a number, or if a band is the same everywhere."""
        if not self._count:
            raise DataError("no valid pixel in the images")
        mean = self._sums / self._count
        covariance = self._products / self._count - np.outer(mean, mean)
        std = np.sqrt(np.maximum(np.diag(covariance), 0))
        for role, value, deviation in zip(roles, mean, std, strict=True):
            if deviation <= _ROUNDING * abs(value):
                raise _OneValue(f"band {role} is {value:g} everywhere in the images to train on; leave it out of bands")
        correlation = covariance / np.outer(std, std)
        return BandStatistics(tuple(mean.tolist()), tuple(std.tolist()), correlation.round(6).tolist())


def pixel_statistics(scenes: Sequence[Scene], model: SegmentationModel) -> BandStatistics:
    """Statistics of the valid pixels that are not held back, in random windows of each scene.

    They are those of stored * scale, or of the numbers relative to the raster's colour if the model normalizes so.

    Raises:
        DataError: there is no such pixel, or a band is the same everywhere.
    """
    sums = _Sums(len(model.bands))
    for number, scene in enumerate(scenes):
        given = model.normalization_of(scene.mean)
        for pixels in _windows(scene, number):
            sums.add(pixels * given.scale - np.array(given.mean)[:, None])
    return sums.statistics(model.bands)


def colour_statistics(scenes: Sequence[Scene], model: SegmentationModel) -> BandStatistics | None:
    """Statistics of the colours of the same windows: of the means of their bands, relative to the mean brightness.

    None if all windows have one colour, as in a single small image: nothing tells then how colours vary.
    """
    sums = _Sums(len(model.bands))
    for number, scene in enumerate(scenes):
        for pixels in _windows(scene, number):
            if pixels.size:
                sums.add((pixels.mean(1) / pixels.mean())[:, None])
    try:
        return sums.statistics(model.bands)
    except _OneValue:
        return None


def _windows(scene: Scene, seed: int) -> Iterator[NDArray[np.float64]]:
    """Valid pixels (C, n) of random windows that are not held back; of the whole scene if they hold few."""
    parts = [_training_pixels(scene, window) for window in _random_windows(scene, seed)]
    if sum(part.shape[1] for part in parts) >= _FEW:
        yield from parts
    else:  # the field lies elsewhere in the scene
        yield from (_training_pixels(scene, window) for window in scene.windows())


def _random_windows(scene: Scene, seed: int) -> list[Window]:
    rng, source = np.random.default_rng(seed), scene.source
    height, width = min(_WINDOW, source.height), min(_WINDOW, source.width)
    corners = [
        (int(rng.integers(0, source.height - height + 1)), int(rng.integers(0, source.width - width + 1)))
        for _ in range(_WINDOWS)
    ]
    return [Window(left, top, width, height) for top, left in corners]


def _training_pixels(scene: Scene, window: Window) -> NDArray[np.float64]:
    """Valid pixels of a window that are not held back, (C, n) as stored."""
    chip = scene.read(window.row_off, window.col_off, window.height, window.width)
    keep = scene.labels.keep
    return chip.pixels[:, chip.valid if keep is None else chip.valid & keep(window)].astype(np.float64)
