"""The held-back part of labelled scenes: random draws are repeated until each class is in both parts.

Only the labels decide which draw is used, so the scores stay unbiased. Training data of the initial model are not held
back.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError, UsageError
from agriseg.evaluation.scores import NEGLIGIBLE, LearntShare
from agriseg.labels.learnt_images import LearntGround, LearntImages, learnt_share
from agriseg.labels.raster import Keep
from agriseg.labels.scene import Scene
from agriseg.labels.spatial_split import BlockCounts, HoldoutDraw, SpatialSplit
from agriseg.training.config import TrainConfig
from agriseg.training.initial_weights import InitialWeights

_CELL = 64  # least side of a cell (px), and most cells a side, of the training data of an image without blocks
_DRAWS = 100  # tried at most


@dataclass(frozen=True)
class Counted:
    """A scene with the labelled pixels of its blocks; `digest` is that of `pixel_digest`."""

    scene: Scene
    counts: BlockCounts
    digest: str

    @classmethod
    def of(cls, scene: Scene, config: TrainConfig) -> "Counted":
        """Read a scene once; a scene that cannot be read raises DataError."""
        side, buffer = _block(config) or (max(_CELL, -(-max(scene.source.height, scene.source.width) // _CELL)), 0)
        digest = hashlib.sha256()
        counts = BlockCounts.of(scene, len(config.classes), side, buffer, digest.update)
        return cls(scene, counts, digest.hexdigest())

    def learnt(self, held: NDArray[np.bool_] | None = None) -> LearntGround:
        """The training part of the scene if these blocks (R, C) are held back; None means no block."""
        blocks = self.counts.pixels.shape[:4:2]
        cells = self.counts.cells(np.zeros(blocks, bool) if held is None else held)
        return LearntGround.of(self.scene, self.counts.side, cells, self.digest)


@dataclass(frozen=True)
class Division:
    """Scenes in two parts.

    Args:
        pixels: (2, K) int64 labelled pixels of each class in the two parts.
        ground: the training part of each scene.
        digests: see `pixel_digest`; of each held-back scene.
    """

    training: Sequence[Scene]
    held: Sequence[Scene]
    pixels: NDArray[np.int64]
    ground: Sequence[LearntGround]
    digests: Sequence[str]
    draws: int = 1

    def learnt_share(self, ground: Sequence[LearntGround]) -> float:
        """Share of the held-back labels on learnt ground, 0 to 1."""
        pairs = zip(self.held, self.digests, strict=True)
        return learnt_share(ground, [(scene, partial(str, digest)) for scene, digest in pairs])

    def notes(self, classes: Sequence[str]) -> list[str]:
        """Labelled pixels of each class in both parts, as text."""
        each = zip(classes, *self.pixels.tolist(), strict=True)
        listed = "; ".join(f"{name} {trained:,} and {held:,}" for name, trained, held in each)
        return [f"labelled pixels to train on and held back: {listed}"]

    def remarks(self, classes: Sequence[str]) -> list[str]:
        """Warnings about classes that are not held back."""
        return [
            f"class {name} has no labelled pixel in what is held back ({trained:,} to train on): nothing scores it"
            for name, trained, held in zip(classes, *self.pixels.tolist(), strict=True)
            if not held
        ]


def learnt_by_training(parts: Division, start: InitialWeights, *, allowed: bool) -> tuple[LearntImages, LearntShare]:
    """All training data of the trained model, and the share of the held-back labels inside them.

    Raises:
        DataError: training data of the initial model are held back, and that is not allowed.
    """
    before = LearntImages(complete=True) if start.model is None else LearntImages.of_card(start.model.about)
    own, earlier = parts.learnt_share(parts.ground), parts.learnt_share(before.images)
    if earlier > NEGLIGIBLE and not allowed:
        raise DataError(
            f"{start.origin} has learnt {earlier:.0%} of what is held back; hold back what it has not (its seed and "
            "[validation], or other images), or set allow_learnt = true under [validation] to have it marked"
        )
    learnt = before.with_more(parts.ground)
    return learnt, LearntShare.of(max(own, earlier), learnt)


def divide(config: TrainConfig, scenes: Sequence[Counted], others: Sequence[Counted] = ()) -> Division:
    """Hold back a part of the scenes, or `others` where the configuration names them; one draw serves all folds.

    Raises:
        DataError: a class has no pixel to train on, or nothing is held back; in any of the folds.
        UsageError: there is too little to divide.
    """
    if config.split == "list":
        pixels = np.stack([_totals(config, scenes), _totals(config, others)])
        _check(config, pixels, "")
        return _of_files(scenes, others, pixels, 1)
    if config.split == "file" and len(scenes) < 2:
        raise UsageError("one image cannot be split by file; leave by out to split it by blocks")
    held = config.validation
    folds = range(held.folds or 1)
    draw = _best_draw(config, scenes, folds)
    for fold in folds:
        _check(
            config, _pixels(config, scenes, draw, fold), f" in part {fold + 1} of {held.folds}" if held.folds else ""
        )
    pixels = _pixels(config, scenes, draw, held.fold)
    if config.split == "file":
        return _of_files(*_file_parts(config, scenes, draw, held.fold), pixels, draw + 1)
    pairs = list(zip(scenes, _splits(config, scenes, draw, held.fold), strict=True))
    training = [_part(each.scene, split.training) for each, split in pairs]
    validation = [_part(each.scene, split.validation) for each, split in pairs]
    ground = [each.learnt(split.held) for each, split in pairs]
    return Division(training, validation, pixels, ground, [each.digest for each in scenes], draw + 1)


def _best_draw(config: TrainConfig, scenes: Sequence[Counted], folds: Sequence[int]) -> int:
    """The first draw with every labelled class in both parts; else that with the fewest missing, in training first."""
    labelled = _totals(config, scenes) > 0
    incomplete = []
    for draw in range(_DRAWS):
        pixels = np.stack([_pixels(config, scenes, draw, fold) for fold in folds])
        missing = ((pixels == 0) & labelled).sum((0, 2)).tolist()
        if not any(missing):
            return draw
        incomplete.append((missing, draw))
    return min(incomplete)[1]


def _check(config: TrainConfig, pixels: NDArray[np.int64], where: str) -> None:
    """Refuse a division with a class that has no training pixels, or without held-back pixels."""
    lost = [(name, held) for name, trained, held in zip(config.classes, *pixels.tolist(), strict=True) if not trained]
    if lost:
        listed = ", ".join(f"{name} ({held:,} px held back)" for name, held in lost)
        raise DataError(f"no labelled pixel to train on{where}: {listed}; {_advice(config, somewhere=lost[0][1] > 0)}")
    if not pixels[1].any():
        raise DataError(
            f"no labelled pixel is held back{where}; label more, or hold back a larger share or other images"
        )


def _advice(config: TrainConfig, *, somewhere: bool) -> str:
    if not somewhere:
        return "label some, or take it out of classes, with values for the others"
    if config.validation.folds:
        return "label it in more places, or leave the folds out"
    if _block(config) is None:
        return "add an image that has it to those to train on"
    return "label it in more places, or set a smaller block or buffer under [validation]"


def _pixels(config: TrainConfig, scenes: Sequence[Counted], draw: int, fold: int) -> NDArray[np.int64]:
    """(2, K) labelled pixels to train on, and held back."""
    if config.split == "file":
        return np.stack([_totals(config, part) for part in _file_parts(config, scenes, draw, fold)])
    splits = _splits(config, scenes, draw, fold)
    parts = [each.counts.parts(split.held) for each, split in zip(scenes, splits, strict=True)]
    return np.asarray(np.sum(parts, axis=0), np.int64)


def _file_parts(
    config: TrainConfig, scenes: Sequence[Counted], draw: int, fold: int
) -> tuple[list[Counted], list[Counted]]:
    held = _holdout_draw(config, 0, draw, fold)(len(scenes))
    return list(compress(scenes, ~held)), list(compress(scenes, held))


def _splits(config: TrainConfig, scenes: Sequence[Counted], draw: int, fold: int) -> list[SpatialSplit]:
    """The held-back blocks of each scene."""
    side, buffer = _block(config) or (0, 0)
    sizes = [(each.scene.source.height, each.scene.source.width) for each in scenes]
    return [
        SpatialSplit.draw(*size, _holdout_draw(config, number, draw, fold), side=side, buffer=buffer)
        for number, size in enumerate(sizes)
    ]


def _of_files(training: Sequence[Counted], held: Sequence[Counted], pixels: NDArray[np.int64], draws: int) -> Division:
    scenes = [[each.scene for each in part] for part in (training, held)]
    ground, digests = [each.learnt() for each in training], [each.digest for each in held]
    return Division(scenes[0], scenes[1], pixels, ground, digests, draws)


def _part(scene: Scene, keep: Keep) -> Scene:
    return Scene(scene.source, replace(scene.labels, keep=keep), scene.mean)


def _block(config: TrainConfig) -> tuple[int, int] | None:
    """Side of a block and width of the buffer around a held-back one (px); None where whole images are held back."""
    if config.split == "block":
        return config.validation.block, config.validation.buffer
    return (config.recipe.chip, 0) if config.split == "random" else None


def _holdout_draw(config: TrainConfig, number: int, draw: int, fold: int) -> HoldoutDraw:
    held = config.validation
    return HoldoutDraw(config.recipe.seed + number, held.share, held.folds, fold, draw)


def _totals(config: TrainConfig, scenes: Sequence[Counted]) -> NDArray[np.int64]:
    return sum((each.counts.totals for each in scenes), np.zeros(len(config.classes), np.int64))
