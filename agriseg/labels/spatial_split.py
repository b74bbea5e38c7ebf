"""Spatial split of one raster: whole blocks are held back, with an unused buffer around them.

Neighbouring pixels are correlated, so a split by pixels trains on the neighbours of each validation pixel and
overstates the scores.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import UsageError
from agriseg.grid import Window
from agriseg.labels.scene import Scene


@dataclass(frozen=True)
class HoldoutDraw:
    """A random draw of the held-back blocks or images.

    Args:
        seed: of the random order.
        share: held-back share; at least one item, and never all.
        folds: number of parts instead of a share; each item is in one of them.
        fold: the held-back part, from 0.
        number: of the draw, from 0.
    """

    seed: int
    share: float
    folds: int | None = None
    fold: int = 0
    number: int = 0

    def __call__(self, count: int) -> NDArray[np.bool_]:
        """(count,) bool: held back."""
        order = np.random.default_rng([self.seed, self.number] if self.number else self.seed).permutation(count)
        held = np.zeros(count, bool)
        if self.folds is None:
            held[order[: min(max(1, round(self.share * count)), count - 1)]] = True
        else:
            held[order[self.fold :: self.folds]] = True
        return held


@dataclass(frozen=True)
class SpatialSplit:
    """Which pixels of one raster are held back for validation.

    Args:
        side: of a square block (px).
        buffer: width of the unused buffer around a held-back block (px), at most `side`.
        held: (block rows, block columns) bool.
    """

    side: int
    buffer: int
    held: NDArray[np.bool_]

    @classmethod
    def draw(cls, height: int, width: int, draw: HoldoutDraw, *, side: int, buffer: int) -> "SpatialSplit":
        """Hold back some of the blocks of a raster.

        Raises:
            UsageError: fewer than two blocks, or a buffer wider than a block.
        """
        shape = -(-height // side), -(-width // side)
        count = shape[0] * shape[1]
        if count < 2:
            raise UsageError(
                f"blocks of {side} px on {width} x {height} px leave one block; use smaller ones, or split by file"
            )
        if not 0 <= buffer <= side:
            raise UsageError(f"buffer {buffer} px, expected 0 to the block's {side}")
        return cls(side, buffer, draw(count).reshape(shape))

    def validation(self, window: Window) -> NDArray[np.bool_]:
        """(h, w) bool: held back."""
        return self._held(window, 0, 0)

    def training(self, window: Window) -> NDArray[np.bool_]:
        """(h, w) bool: neither held back nor in the buffer."""
        # a buffer no wider than a block touches only blocks with one of these nine points
        steps = (-self.buffer, 0, self.buffer)
        near: NDArray[np.bool_] = np.logical_or.reduce([self._held(window, dr, dc) for dr in steps for dc in steps])
        return ~near

    def _held(self, window: Window, row_step: int, col_step: int) -> NDArray[np.bool_]:
        """(h, w) bool: held back, this many rows and columns (px, at most a block) further."""
        rows = (np.arange(window.row_off, window.row_stop) + row_step) // self.side
        cols = (np.arange(window.col_off, window.col_stop) + col_step) // self.side
        padded = np.pad(self.held, 1)  # a step leads out of the raster by one block at most
        return np.asarray(padded[rows[:, None] + 1, cols + 1], bool)


@dataclass(frozen=True)
class BlockCounts:
    """Labelled pixels of each class by block, with pixels that may be in the buffer of a neighbour counted apart.

    Args:
        side, buffer: as `SpatialSplit`.
        pixels: (R, 3, C, 3, K) int64: rows of blocks and, in each, its first `buffer` rows, those between, and its
            last; columns alike. If the buffer is wider than half a block, those between are in both buffers.
    """

    side: int
    buffer: int
    pixels: NDArray[np.int64]

    @classmethod
    def of(
        cls, scene: Scene, classes: int, side: int, buffer: int, on_strip: Callable[[bytes], None] | None = None
    ) -> "BlockCounts":
        """Read a scene of K classes once; `on_strip` is called with the bytes of the pixels of each strip.

        Raises:
            DataError: the scene cannot be read.
        """
        rows, cols = (-(-length // side) for length in (scene.source.height, scene.source.width))
        shape = (rows * 3, cols * 3)
        counts = np.zeros((classes, shape[0] * shape[1]), np.int64)
        for window in scene.windows():
            chip = scene.read(window.row_off, window.col_off, window.height, window.width)
            if on_strip is not None:
                on_strip(chip.pixels.tobytes())
            down = _zones(window.row_off, window.height, side, buffer)
            across = _zones(window.col_off, window.width, side, buffer)
            zones = down[:, None] * shape[1] + across
            for k in range(classes):
                counts[k] += np.bincount(zones[chip.ids == k], minlength=counts.shape[1])
        return cls(side, buffer, np.moveaxis(counts.reshape(classes, rows, 3, cols, 3), 0, -1))

    @property
    def totals(self) -> NDArray[np.int64]:
        """(K,) labelled pixels."""
        return np.asarray(self.pixels.sum((0, 1, 2, 3)), np.int64)

    def parts(self, held: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(2, K) labelled pixels to train on and held back, if these blocks (R, C) are held back."""
        return np.stack([self._trained(held).sum((0, 1, 2, 3)), self.pixels.sum((1, 3))[held].sum(0)])

    def cells(self, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(R, C) bool: blocks with a pixel to train on, if these are held back."""
        return np.asarray(self._trained(held).any((1, 3, 4)), bool)

    def _trained(self, held: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(R, 3, C, 3, K) pixels to train on."""
        beside = np.pad(held, 1)
        rows, cols = held.shape
        near = np.zeros(self.pixels.shape[:4], bool)
        for (i, down), (j, across) in product(enumerate(self._reach), repeat=2):
            for r, c in product(down, across):
                near[:, i, :, j] |= beside[1 + r : 1 + r + rows, 1 + c : 1 + c + cols]
        return np.where(near[..., None], 0, self.pixels)

    @property
    def _reach(self) -> tuple[tuple[int, ...], ...]:
        """For each third of a block, the offsets of the blocks whose buffer may contain it."""
        return (0, -1), ((0, -1, 1) if 2 * self.buffer > self.side else (0,)), (0, 1)


def _zones(start: int, length: int, side: int, buffer: int) -> NDArray[np.int64]:
    """(length,) number of the third of a block that holds each row or column from `start` on."""
    block, place = np.divmod(np.arange(start, start + length), side)
    ends = sorted((buffer, side - buffer))
    return np.asarray(3 * block + np.searchsorted(ends, place, side="right"), np.int64)
