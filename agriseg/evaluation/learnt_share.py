"""Scores on ground that a model has learnt are no scores: refused, or said."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

from agriseg.labels.label_set import LabelledImage
from agriseg.labels.learnt_images import LearntImages, pixel_digest
from agriseg.labels.scene import Scene
from agriseg.mapping.compatibility import check_compatibility
from agriseg.model import SegmentationModel
from agriseg.options.run import RunOptions

LITTLE = 0.01  # of the labels, up to which nothing is said: edges of what was held back


@dataclass(frozen=True)
class LearntShare:
    """How much of the labels that score a model lies on ground that it has learnt.

    Args:
        share: 0 to 1; None where the model's file does not tell its ground.
    """

    share: float | None

    @classmethod
    def of(cls, share: float, learnt: LearntImages) -> "LearntShare":
        """Of what is known; a little is unknown where the model's file does not tell all of its ground."""
        return cls(share if learnt.complete or share > LITTLE else None)

    @property
    def doubt(self) -> str | None:
        """What a reader should know before trusting a model's scores."""
        if self.share is None:
            return "whether the model has learnt the ground that scores it is unknown: its file does not tell"
        if self.share <= LITTLE:
            return None
        return f"{self.share:.0%} of the labels that score it lie on ground that it has learnt: elsewhere expect less"


def learnt_by_model(model: SegmentationModel, images: Sequence[LabelledImage], options: RunOptions) -> LearntShare:
    """How much of labelled images a model has learnt."""
    learnt = LearntImages.of_card(model.about)
    plain = RunOptions(gsd="native", bands=options.bands, nodata=options.nodata)
    scenes = [
        Scene(check_compatibility(each.info, model, plain).source, each.labels) for each in images if learnt.images
    ]
    return LearntShare.of(learnt.share([(scene, cache(partial(pixel_digest, scene))) for scene in scenes]), learnt)


def most_learnt(shares: Sequence[LearntShare | None]) -> LearntShare:
    """The largest of several; unknown where one of them is."""
    known = [each.share for each in shares if each is not None]
    return LearntShare(None if None in known else max([share for share in known if share is not None], default=0.0))
