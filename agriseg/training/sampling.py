"""Where chips are taken: often where a rare class is.

Everything about sample number i follows from (seed, i) alone, so a run that goes on after a kill draws what the
uninterrupted run would have drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.legend import NODATA
from agriseg.training.scenes import Scene

_PLACES = 4000  # remembered per scene and class


@dataclass(frozen=True)
class Census:
    """What the labels hold.

    Args:
        counts: (scenes, K) labelled pixels.
        places: per class (N, 3) int32: scene, row, column of remembered pixels.
        weights: per class (N,) float64: how many pixels each of them stands for, as shares of 1.
    """

    counts: NDArray[np.int64]
    places: tuple[NDArray[np.int32], ...]
    weights: tuple[NDArray[np.float64], ...]

    @property
    def shares(self) -> NDArray[np.float64]:
        """(K,) share of each class in the labelled pixels."""
        totals = self.counts.sum(0)
        return np.asarray(totals / totals.sum(), np.float64)


def take_census(scenes: Sequence[Scene], classes: int, seed: int) -> Census:
    """Read all labels once.

    Raises:
        DataError: nothing is labelled, or a label is no class.
    """
    counts = np.zeros((len(scenes), classes), np.int64)
    places: list[list[NDArray[np.int32]]] = [[] for _ in range(classes)]
    weights: list[list[NDArray[np.float64]]] = [[] for _ in range(classes)]
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng([seed, number])
        ids = scene.all().ids
        for k in range(classes):
            found = np.flatnonzero(ids == k)
            counts[number, k] = len(found)
            if not len(found):
                continue
            kept = rng.choice(found, min(_PLACES, len(found)), replace=False)
            rows, cols = np.divmod(kept, ids.shape[1])
            places[k].append(np.stack([np.full_like(rows, number), rows, cols], 1).astype(np.int32))
            weights[k].append(np.full(len(kept), len(found) / len(kept)))
    if not counts.sum():
        raise DataError(f"no labelled pixel in {len(scenes)} images; is everything {NODATA} or nodata?")
    return Census(
        counts,
        tuple(np.concatenate(each) if each else np.zeros((0, 3), np.int32) for each in places),
        tuple(_shares(np.concatenate(each)) if each else np.zeros(0) for each in weights),
    )


def draw_place(census: Census, rare: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """Scene, row and column of a labelled pixel.

    Args:
        census: of the scenes.
        rare: share of draws that take a class at random, all but the most common alike; the others take a pixel at
            random.
        rng: of this sample.
    """
    shares = census.shares
    present = np.flatnonzero(shares)
    uncommon = present[present != shares.argmax()]
    by_class = len(uncommon) > 0 and rng.random() < rare
    k = rng.choice(uncommon) if by_class else rng.choice(len(shares), p=shares)
    scene, row, col = census.places[k][rng.choice(len(census.places[k]), p=census.weights[k])]
    return int(scene), int(row), int(col)


def _shares(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(numbers / numbers.sum(), np.float64)
