"""The score of a head on labels of ground that it has not seen, and when there are too few to say."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from agriseg.labelling.pixel_head import CELL, LabelledCells, train_head

_GROUND = 256 // CELL
"""Side of the squares of ground that are held back as a whole (cells)."""
_FOLDS = 4
_LEAST_SQUARES = 3  # with cells of a class on each side of the division, for a number to say something
TOO_FEW = "too few to say"


@dataclass(frozen=True)
class HeldBackScore:
    """Shares of held-back cells that get their own class.

    Args:
        classes: by name; None where too few squares hold the class.
    """

    classes: dict[str, float | None]

    @property
    def mean(self) -> float | None:
        """Mean over the classes; None unless each has a share."""
        shares = list(self.classes.values())
        known = [share for share in shares if share is not None]
        return sum(known) / len(known) if shares and len(known) == len(shares) else None

    @property
    def text(self) -> str:
        """For a person."""
        mean = self.mean
        return TOO_FEW if mean is None else f"{mean:.0%} right on labels held back"


def score_held_back(
    cells: LabelledCells, channels: Sequence[int], classes: Sequence[str], lock: AbstractContextManager[object],
    stopped: Callable[[], bool] = lambda: False,
) -> HeldBackScore | None:  # fmt: skip
    """Train on part of the labelled squares of ground and count the others, in turn until each was held back.

    The lock is held for each training alone, so that what waits for it waits for one of them at most. None if stopped
    before one.
    """
    squares = cells.place // _GROUND
    numbers, square = np.unique(squares, axis=0, return_inverse=True)
    fold = (np.random.default_rng(0).permutation(len(numbers)) % _FOLDS)[square.ravel()]
    right, total = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    if len(numbers) < _FOLDS:
        return HeldBackScore(dict.fromkeys(classes))
    for number in range(_FOLDS):
        if stopped():
            return None
        held = fold == number
        train, test = cells.some(~held), cells.some(held)
        if len(np.unique(train.ids)) < 2:
            continue
        with lock:
            head = train_head(train, channels, len(classes))
        with torch.inference_mode():
            found = head(torch.from_numpy(test.features)).argmax(1).numpy()
        total += np.bincount(test.ids, minlength=len(classes))
        right += np.bincount(test.ids[found == test.ids], minlength=len(classes))
    enough = [
        len(np.unique(square.ravel()[cells.ids == class_id])) >= _LEAST_SQUARES for class_id in range(len(classes))
    ]
    return HeldBackScore(
        {name: float(right[k] / total[k]) if enough[k] and total[k] else None for k, name in enumerate(classes)}
    )
