"""The held-back part of labelled scenes: drawn at random, again until each class is in both parts.

Only the labels decide which draw is taken, so the scores stay unbiased. Ground that the initial model was trained on is
not held back.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

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

_CELL = 64  # px at least, and cells a side at most, of the learnt ground of an image that is not split by blocks
_DRAWS = 100  # that are tried at most


@dataclass(frozen=True)
class Counted:
    """A scene with the labelled pixels of its blocks.

    Args:
        scene: the image with its labels.
        counts: labelled pixels of its blocks.
        digest: of its pixels, see `pixel_digest`.
    """

    scene: Scene
    counts: BlockCounts
    digest: str

    @classmethod
    def of(cls, scene: Scene, config: TrainConfig) -> "Counted":
        """Read a scene once.

        Raises:
            DataError: it cannot be read.
        """
        side, buffer = _block(config) or (max(_CELL, -(-max(scene.source.height, scene.source.width) // _CELL)), 0)
        digest = hashlib.sha256()
        counts = BlockCounts.of(scene, len(config.classes), side, buffer, digest.update)
        return cls(scene, counts, digest.hexdigest())

    def learnt(self, held: NDArray[np.bool_] | None = None) -> LearntGround:
        """The training part of the scene if these blocks (R, C) are held back; None for no block."""
        blocks = self.counts.pixels.shape[:4:2]
        cells = self.counts.cells(np.zeros(blocks, bool) if held is None else held)
        return LearntGround.of(self.scene, self.counts.side, cells, self.digest)


@dataclass(frozen=True)
class Division:
    """Scenes in two parts.

    Args:
        training: scenes to train on.
        held: scenes to score a model on.
        pixels: (2, K) int64 labelled pixels of each class in the two parts.
        ground: the training part of each scene.
        digests: of the pixels of each held-back scene.
        draws: number of draws.
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
        """Labelled pixels of each class in both parts, for people."""
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


def learnt_by_training(parts: Division, began: InitialWeights, *, allowed: bool) -> tuple[LearntImages, LearntShare]:
    """Ground that the trained model will have learnt, and the share of the held-back labels on it.

    Args:
        parts: scenes to train on and to score on.
        began: initial weights.
        allowed: whether the held-back labels may be on ground that the initial model has learnt.

    Raises:
        DataError: the initial model has learnt held-back ground, and that is not allowed.
    """
    before = LearntImages(complete=True) if began.model is None else LearntImages.of_card(began.model.about)
    own, earlier = parts.learnt_share(parts.ground), parts.learnt_share(before.images)
    if earlier > NEGLIGIBLE and not allowed:
        raise DataError(
            f"{began.origin} has learnt {earlier:.0%} of what is held back; hold back what it has not (its seed and "
            "[validation], or other images), or set allow_learnt = true under [validation] to have it marked"
        )
    learnt = before.with_more(parts.ground)
    return learnt, LearntShare.of(max(own, earlier), learnt)


class _Lot(Protocol):
    """Divisions of scenes, by draw and by held-back fold."""

    @property
    def totals(self) -> NDArray[np.int64]:
        """(K,) labelled pixels of each class."""

    def pixels(self, draw: int, fold: int) -> NDArray[np.int64]:
        """(2, K) of them to train on, and held back."""

    def division(self, draw: int, fold: int) -> Division:
        """The parts."""


def divide(config: TrainConfig, scenes: Sequence[Counted], others: Sequence[Counted] = ()) -> Division:
    """Hold back a part of the scenes, or other scenes.

    Args:
        config: how; one draw serves all folds.
        scenes: labelled.
        others: scenes to hold back that the user named.

    Raises:
        DataError: a class has no pixel to train on, or nothing is held back; in any of the folds.
        UsageError: there is too little to divide.
    """
    if config.split == "list":
        pixels = np.stack([_totals(scenes, len(config.classes)), _totals(others, len(config.classes))])
        _check(config, pixels, "")
        return _of_files(scenes, others, pixels, 1)
    held = config.validation
    lot: _Lot = _Files(config, scenes) if config.split == "file" else _Blocks(config, scenes)
    folds = range(held.folds) if held.folds else range(1)
    draw = _best_draw(lot, folds)
    for fold in folds:
        _check(config, lot.pixels(draw, fold), f" in part {fold + 1} of {held.folds}" if held.folds else "")
    return lot.division(draw, held.fold)


def _best_draw(lot: _Lot, folds: Sequence[int]) -> int:
    """The first draw with every labelled class in both parts; else that with the fewest missing, in training first."""
    best, least = 0, (len(lot.totals) * len(folds) + 1, 0)
    for draw in range(_DRAWS):
        lacks = sum(((lot.pixels(draw, fold) == 0) & (lot.totals > 0)).sum(1) for fold in folds)
        found = (int(lacks[0]), int(lacks[1]))
        if found < least:
            best, least = draw, found
        if not any(found):
            break
    return best


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
    """How to get training pixels for a class."""
    if not somewhere:
        return "label some, or take it out of classes, with values for the others"
    if config.validation.folds:
        return "label it in more places, or leave the folds out"
    if _block(config) is None:
        return "add an image that has it to those to train on"
    return "label it in more places, or set a smaller block or buffer under [validation]"


@dataclass(frozen=True)
class _Files:
    """Whole scenes are held back."""

    config: TrainConfig
    scenes: Sequence[Counted]

    def __post_init__(self) -> None:
        if len(self.scenes) < 2:
            raise UsageError("one image cannot be split by file; leave by out to split it by blocks")

    @property
    def totals(self) -> NDArray[np.int64]:
        return _totals(self.scenes, len(self.config.classes))

    def pixels(self, draw: int, fold: int) -> NDArray[np.int64]:
        return np.stack([_totals(part, len(self.config.classes)) for part in self._parts(draw, fold)])

    def division(self, draw: int, fold: int) -> Division:
        training, held = self._parts(draw, fold)
        return _of_files(training, held, self.pixels(draw, fold), draw + 1)

    def _parts(self, draw: int, fold: int) -> list[list[Counted]]:
        back = _draw(self.config, 0, draw, fold)(len(self.scenes))
        return [[each for each, is_back in zip(self.scenes, back, strict=True) if is_back == part] for part in (0, 1)]


@dataclass(frozen=True)
class _Blocks:
    """Blocks of each scene are held back."""

    config: TrainConfig
    scenes: Sequence[Counted]

    @property
    def totals(self) -> NDArray[np.int64]:
        return _totals(self.scenes, len(self.config.classes))

    def pixels(self, draw: int, fold: int) -> NDArray[np.int64]:
        splits = self._splits(draw, fold)
        parts = [each.counts.parts(split.held) for each, split in zip(self.scenes, splits, strict=True)]
        return np.asarray(np.sum(parts, axis=0), np.int64)

    def division(self, draw: int, fold: int) -> Division:
        pairs = list(zip(self.scenes, self._splits(draw, fold), strict=True))
        training = [_kept(each.scene, split.training) for each, split in pairs]
        held = [_kept(each.scene, split.validation) for each, split in pairs]
        ground = [each.learnt(split.held) for each, split in pairs]
        return Division(
            training, held, self.pixels(draw, fold), ground, [each.digest for each in self.scenes], draw + 1
        )

    def _splits(self, draw: int, fold: int) -> list[SpatialSplit]:
        side, buffer = _block(self.config) or (0, 0)
        return [
            SpatialSplit.draw(
                each.scene.source.height, each.scene.source.width, _draw(self.config, number, draw, fold), side=side,
                buffer=buffer,
            )
            for number, each in enumerate(self.scenes)
        ]  # fmt: skip


def _of_files(training: Sequence[Counted], held: Sequence[Counted], pixels: NDArray[np.int64], draws: int) -> Division:
    """Whole images in each part."""
    scenes = [[each.scene for each in part] for part in (training, held)]
    return Division(
        scenes[0], scenes[1], pixels, [each.learnt() for each in training], [each.digest for each in held], draws
    )


def _kept(scene: Scene, keep: Keep) -> Scene:
    """The part of a scene whose labels are kept."""
    return Scene(scene.source, replace(scene.labels, keep=keep))


def _block(config: TrainConfig) -> tuple[int, int] | None:
    """Side of a block and width of the belt around a held-back one (px); None where whole images are held back."""
    if config.split == "block":
        return config.validation.block, config.validation.buffer
    return (config.recipe.chip, 0) if config.split == "random" else None


def _draw(config: TrainConfig, number: int, draw: int, fold: int) -> HoldoutDraw:
    """Of scene `number`."""
    held = config.validation
    return HoldoutDraw(config.recipe.seed + number, held.share, held.folds, fold, draw)


def _totals(scenes: Sequence[Counted], classes: int) -> NDArray[np.int64]:
    """(K,) labelled pixels of each class."""
    return np.asarray(np.sum([each.counts.totals for each in scenes], axis=0, initial=0), np.int64) + np.zeros(
        classes, np.int64
    )
