"""Scores on ground that a model has learnt are no scores: refused, or said."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

from agriseg.config import RunOptions
from agriseg.errors import DataError
from agriseg.jobs.contract import agree
from agriseg.jobs.label_set import LabelledImage
from agriseg.jobs.start import Start
from agriseg.model import SegmentationModel
from agriseg.training.learnt import LearntImages, pixel_digest
from agriseg.training.scenes import Scene
from agriseg.training.split import Division

_LITTLE = 0.01  # of the labels, up to which nothing is said: edges of what was held back


@dataclass(frozen=True)
class LearntShare:
    """How much of the labels that score a model lies on ground that it has learnt.

    Args:
        share: 0 to 1; None where the model's file does not tell its ground.
    """

    share: float | None

    @property
    def doubt(self) -> str | None:
        """What a reader should know before trusting a model's scores."""
        if self.share is None:
            return "whether the model has learnt the ground that scores it is unknown: its file does not tell"
        if self.share <= _LITTLE:
            return None
        return f"{self.share:.0%} of the labels that score it lie on ground that it has learnt: elsewhere expect less"


def learnt_by_training(parts: Division, began: Start, *, allowed: bool) -> tuple[LearntImages, LearntShare]:
    """What a model will have learnt when it is trained, and how much of what is held back lies there.

    Args:
        parts: scenes to train on and to score on.
        began: where the weights come from.
        allowed: to score on ground that the model to start from has learnt.

    Raises:
        DataError: the model to start from has learnt what is held back, and that is not allowed.
    """
    before = LearntImages((), complete=True) if began.model is None else LearntImages.of_card(began.model.about)
    own, earlier = parts.learnt_share(parts.ground), parts.learnt_share(before.images)
    if earlier > _LITTLE and not allowed:
        raise DataError(
            f"{began.origin} has learnt {earlier:.0%} of what is held back; hold back what it has not (its seed and "
            "[validation], or other images), or set allow_learnt = true under [validation] to have it marked"
        )
    learnt = before.with_more(parts.ground)
    return learnt, _share(max(own, earlier), learnt)


def learnt_by_model(model: SegmentationModel, images: Sequence[LabelledImage], options: RunOptions) -> LearntShare:
    """How much of labelled images a model has learnt."""
    learnt = LearntImages.of_card(model.about)
    plain = RunOptions(gsd="native", bands=options.bands, nodata=options.nodata)
    scenes = [Scene(agree(each.info, model, plain).source, each.labels) for each in images if learnt.images]
    return _share(learnt.share([(scene, cache(partial(pixel_digest, scene))) for scene in scenes]), learnt)


def _share(share: float, learnt: LearntImages) -> LearntShare:
    return LearntShare(share if learnt.complete or share > _LITTLE else None)


def most_learnt(shares: Sequence[LearntShare | None]) -> LearntShare:
    """The largest of several; unknown where one of them is."""
    known = [each.share for each in shares if each is not None]
    return LearntShare(None if None in known else max([share for share in known if share is not None], default=0.0))
