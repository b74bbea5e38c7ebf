"""Sampling of chips, with more chips of rare classes.

Sample i depends on (seed, i) alone, so a resumed training draws the same samples as an uninterrupted one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.labels.scene import Scene
from agriseg.legend import NODATA

PixelPosition = tuple[int, int, int]
"""Scene, row and column."""

_TINY = 1e-12  # below any sum of weights of a class that occurs
_PIXELS = 4000  # kept per scene and class


@dataclass(frozen=True)
class ClassIndex:
    """Pixel counts of the labels, and a sample of the pixels of each class.

    Args:
        counts: (scenes, K) labelled pixels.
        pixels: per class (N, 3) int32: scene, row, column of sampled pixels.
        cumulative_weight: per class (N,) float64, up to 1: running sum of the share of pixels that each represents.
    """

    counts: NDArray[np.int64]
    pixels: tuple[NDArray[np.int32], ...]
    cumulative_weight: tuple[NDArray[np.float64], ...]

    @property
    def shares(self) -> NDArray[np.float64]:
        """(K,) share of each class in the labelled pixels."""
        totals = self.counts.sum(0)
        return np.asarray(totals / totals.sum(), np.float64)

    @property
    def rarest(self) -> int:
        """The labelled class with the fewest pixels."""
        shares = self.shares
        return int(np.where(shares > 0, shares, np.inf).argmin())

    def draw(self, k: int, rng: np.random.Generator) -> PixelPosition:
        """A random pixel of class `k`."""
        number = self.cumulative_weight[k].searchsorted(rng.random(), side="right")
        scene, row, col = self.pixels[k][number].tolist()
        return scene, row, col


def index_labels(scenes: Sequence[Scene], classes: int, seed: int, *, images_alike: bool = False) -> ClassIndex:
    """Read all labels once; with `images_alike`, small images are drawn from as often as large ones.

    Raises:
        DataError: nothing is labelled, or a label is no class.
    """
    counts = np.zeros((len(scenes), classes), np.int64)
    pixels: list[list[NDArray[np.int32]]] = [[] for _ in range(classes)]
    weights: list[list[NDArray[np.float64]]] = [[] for _ in range(classes)]
    for number, scene in enumerate(scenes):
        sampled = _sampled_pixels(scene, classes, np.random.default_rng([seed, number]))
        labelled = max(1, sum(count for count, _ in sampled)) if images_alike else 1
        for k, (count, kept) in enumerate(sampled):
            counts[number, k] = count
            rows, cols = np.divmod(kept, scene.source.width)
            pixels[k].append(np.stack([np.full_like(rows, number), rows, cols], 1).astype(np.int32))
            weights[k].append(np.full(len(kept), count / max(1, len(kept)) / labelled))
    if not counts.sum():
        raise DataError(f"no labelled pixel in {len(scenes)} images; is everything {NODATA} or nodata?")
    return ClassIndex(
        counts,
        tuple(np.concatenate(each) for each in pixels),
        tuple(sums / max(sums[-1:].sum(), _TINY) for sums in (np.concatenate(each).cumsum() for each in weights)),
    )


def _sampled_pixels(scene: Scene, classes: int, rng: np.random.Generator) -> list[tuple[int, NDArray[np.int64]]]:
    """Per class the number of its pixels, and the flat indices of a uniform sample of them.

    Each pixel gets a random key and those with the lowest are kept, so the raster is read once, strip by strip.
    """
    counts = [0] * classes
    kept = [(np.zeros(0), np.zeros(0, np.int64)) for _ in range(classes)]
    for window in scene.windows():
        ids = scene.read(window.row_off, window.col_off, window.height, window.width).ids
        for k in range(classes):
            new = np.flatnonzero(ids == k) + window.row_off * scene.source.width
            keys, pixels = np.concatenate([kept[k][0], rng.random(len(new))]), np.concatenate([kept[k][1], new])
            lowest = np.argpartition(keys, _PIXELS)[:_PIXELS] if len(keys) > _PIXELS else np.arange(len(keys))
            lowest = lowest[np.argsort(keys[lowest])]
            counts[k], kept[k] = counts[k] + len(new), (keys[lowest], pixels[lowest])
    return [(counts[k], kept[k][1]) for k in range(classes)]


def sample_pixel(class_index: ClassIndex, rare_class_share: float, rng: np.random.Generator) -> PixelPosition:
    """A random labelled pixel; `rare_class_share` of the draws first draw a class other than the commonest."""
    shares = class_index.shares
    present = np.flatnonzero(shares)
    uncommon = present[present != shares.argmax()]
    by_class = len(uncommon) > 0 and rng.random() < rare_class_share
    return class_index.draw(rng.choice(uncommon) if by_class else rng.choice(len(shares), p=shares), rng)
