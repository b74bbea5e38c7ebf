"""Which ground a model will have learnt when it is trained, and how much of what scores it lies there."""

from agriseg.errors import DataError
from agriseg.evaluation.learnt_share import LITTLE, LearntShare
from agriseg.labels.learnt_images import LearntImages
from agriseg.training.holdout import Division
from agriseg.training.initial_weights import InitialWeights


def learnt_by_training(parts: Division, began: InitialWeights, *, allowed: bool) -> tuple[LearntImages, LearntShare]:
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
    if earlier > LITTLE and not allowed:
        raise DataError(
            f"{began.origin} has learnt {earlier:.0%} of what is held back; hold back what it has not (its seed and "
            "[validation], or other images), or set allow_learnt = true under [validation] to have it marked"
        )
    learnt = before.with_more(parts.ground)
    return learnt, LearntShare.of(max(own, earlier), learnt)
