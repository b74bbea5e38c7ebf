"""What a training reports while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A fact about the data or the first weights."""

    text: str


@dataclass(frozen=True)
class DataWarning:
    """Something in the images or labels to check by eye."""

    text: str


@dataclass(frozen=True)
class FoldStarted:
    """The training of a fold starts; folds are counted from 1."""

    fold: int
    folds: int


@dataclass(frozen=True)
class StepDone:
    """An optimiser step, counted from 1, is done; `done` is the finished share of the training, 0 to 1."""

    step: int
    done: float
    loss: float
    lr: float


@dataclass(frozen=True)
class ValidationScores:
    """Scores of a model on the held-back labels.

    Args:
        miou: mean IoU; the model with the highest one is the best.
        iou: by class name; None for a class without pixels.
    """

    miou: float
    iou: Mapping[str, float | None]


@dataclass(frozen=True)
class ValidationDone:
    """A validation is done; the fields are the keys of a line of `metrics.jsonl`, see also `ValidationScores`.

    Args:
        seconds: of training so far, over all sessions.
        loss: mean training loss since the last validation.
    """

    step: int
    seconds: float
    loss: float
    best: bool
    miou: float
    iou: Mapping[str, float | None]


Progress = Note | DataWarning | FoldStarted | StepDone | ValidationDone
Report = Callable[[Progress], None]
