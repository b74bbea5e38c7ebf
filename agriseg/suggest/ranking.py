"""The order in which boxes are labelled: those that teach a model most for each plant that must be drawn.

A box is worth entropy * distance * spread / sqrt(0.1 + work):

- entropy: mean entropy of the calibrated class probabilities in the box (uncertainty sampling: Lewis and Gale 1994,
  arXiv cmp-lg/9407020);
- distance: to the most similar box that is labelled or chosen already, by the classes that the model finds in the two
  (greedy k-centre: Sener and Savarese 2018, arXiv 1708.00489);
- work: expected share of all classes but the commonest, divided by its mean over all boxes: what must be drawn;
- spread: a half beside a chosen box of the same image, else 1.

`benchmarks/suggest.py` compares this product with others, also with the rarity of the classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from agriseg.suggest.boxes import BoxStatistics

BESIDE = 0.5
"""What a box beside a chosen one is worth, as a share of what it is worth elsewhere."""
_LEAST_SHARE = 1e-3  # of a class in all boxes, below which it counts as this rare
_NO_WORK = 0.1  # of a box without a plant, as a share of that of the mean box
_LEAST = 1e-9  # deviation of numbers that are all the same


@dataclass(frozen=True)
class Exponents:
    """Of the factors that a box is worth."""

    entropy: float = 1.0
    distance: float = 1.0
    work: float = -0.5
    rarity: float = 0.0


RULE = Exponents()
"""The best of the products that `benchmarks/suggest.py` measured on two data sets."""


@dataclass(frozen=True)
class Candidates:
    """Boxes of all images, and which of them may be chosen.

    Args:
        statistics: of N boxes.
        image: (N,) number of the image.
        cell: (N, 2) row and column in the image's grid of boxes.
        labelled: (N,) bool: labelled already; these are not chosen, and others are compared with them.
        valid: (N,) bool: mostly data; the others are left out.
    """

    statistics: BoxStatistics
    image: NDArray[np.intp]
    cell: NDArray[np.intp]
    labelled: NDArray[np.bool_]
    valid: NDArray[np.bool_]

    @property
    def free(self) -> NDArray[np.bool_]:
        """(N,) bool: boxes that may be chosen."""
        return self.valid & ~self.labelled


@dataclass(frozen=True)
class Choice:
    """A chosen box.

    Args:
        box: its number.
        entropy: 0 to 1.
        rarity: expected share of each class in the box, divided by its share in all boxes, summed over the K classes
            and divided by K: 1 in a box like the mean of all.
        distance: to the most similar labelled or earlier box, in standard deviations; NaN if there is none.
        exceeds: share of the boxes left then that have a lower entropy, rarity and distance, 0 to 1.
    """

    box: int
    entropy: float
    rarity: float
    distance: float
    exceeds: tuple[float, float, float]


def rank(candidates: Candidates, count: int, rule: Exponents = RULE) -> list[Choice]:
    """Choose boxes one after the other, each time the one that is worth most; of equals the first.

    No image gets more than twice its share of the boxes while others have some left.

    Returns:
        The choices in order: `count`, or as many as there are free boxes.
    """
    statistics = candidates.statistics
    marks, rarity = descriptors(statistics, candidates.valid), rarities(statistics, candidates.valid)
    value = statistics.entropy**rule.entropy * works(statistics, candidates.valid) ** rule.work * rarity**rule.rarity
    nearest = _nearest(marks, candidates.labelled & candidates.valid)
    images = np.unique(candidates.image[candidates.free])
    most = -(-2 * count // max(1, len(images)))
    left, spread = candidates.free.copy(), np.ones(len(statistics))
    choices: list[Choice] = []
    while left.any() and len(choices) < count:
        numbers = statistics.entropy, rarity, np.where(np.isinf(nearest), np.nan, nearest)
        worth = value * np.where(np.isinf(nearest), 1, nearest) ** rule.distance * spread
        box = int(np.argmax(np.where(_allowed(candidates, choices, left, most), worth, -np.inf)))
        entropy, unusual, distance = ((float(each[box]), float((each[left] < each[box]).mean())) for each in numbers)
        exceeds = entropy[1], unusual[1], distance[1]
        choices.append(Choice(box, entropy[0], unusual[0], distance[0], exceeds))
        nearest = np.minimum(nearest, _distances(marks, box))
        spread[_beside(candidates, box)] = BESIDE
        left[box] = False
    return choices


def descriptors(statistics: BoxStatistics, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 2 K): root of the share and spread of each class, in standard deviations over the counted boxes."""
    values = np.concatenate([np.sqrt(statistics.shares), statistics.spreads], axis=1)
    if not counted.any():
        return values
    deviation = values[counted].std(0)
    return np.asarray((values - values[counted].mean(0)) / np.where(deviation > _LEAST, deviation, 1))


def rarities(statistics: BoxStatistics, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) rarity of each box, see `Choice`."""
    return np.asarray((statistics.shares / overall(statistics, counted)).mean(1))


def works(statistics: BoxStatistics, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) what must be drawn in each box, as a share of that in the mean box, plus a tenth: no box is free."""
    usual = overall(statistics, counted)
    return np.asarray(_NO_WORK + (1 - statistics.shares[:, usual.argmax()]) / max(1 - usual.max(), _LEAST_SHARE))


def overall(statistics: BoxStatistics, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(K,) expected share of each class in the counted boxes, at least 0.001."""
    shares = statistics.shares[counted] if counted.any() else statistics.shares
    return np.asarray(np.maximum(shares.mean(0), _LEAST_SHARE))


def _nearest(marks: NDArray[np.float64], before: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) distance to the most similar of these boxes; infinite without any."""
    if not before.any():
        return np.full(len(marks), np.inf)
    return np.asarray(cKDTree(marks[before]).query(marks)[0] / np.sqrt(marks.shape[1]))


def _distances(marks: NDArray[np.float64], box: int) -> NDArray[np.float64]:
    """(N,) root mean square difference from one box."""
    return np.asarray(np.sqrt(((marks - marks[box]) ** 2).mean(1)))


def _allowed(candidates: Candidates, choices: list[Choice], left: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Boxes that are left in images with fewer than `most` choices; all that are left if there are none."""
    chosen = np.bincount(candidates.image[[each.box for each in choices]], minlength=int(candidates.image.max()) + 1)
    few = left & (chosen < most)[candidates.image]
    return few if few.any() else left


def _beside(candidates: Candidates, box: int) -> NDArray[np.bool_]:
    """(N,) bool: boxes of the same image that touch this one."""
    near = np.abs(candidates.cell - candidates.cell[box]).max(1) <= 1
    return np.asarray(near & (candidates.image == candidates.image[box]), bool)
