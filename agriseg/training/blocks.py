"""Splitting one field honestly: whole blocks of ground are held back, with a belt around them that nobody uses.

Neighbouring pixels are alike. A random split lets a network see the neighbours of every pixel it is tested on, and
flatters it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import UsageError
from agriseg.grid import Window


@dataclass(frozen=True)
class Draw:
    """Which of some things, blocks or images, are held back.

    Args:
        seed: of the order in which they are drawn.
        share: held back: at least one thing and never all.
        folds: number of parts, instead of a share; every thing is in one of them.
        fold: the part that is held back.
    """

    seed: int
    share: float
    folds: int | None = None
    fold: int = 0

    def __call__(self, count: int) -> NDArray[np.bool_]:
        """(count,) bool: held back."""
        order = np.random.default_rng(self.seed).permutation(count)
        held = np.zeros(count, bool)
        if self.folds is None:
            held[order[: min(max(1, round(self.share * count)), count - 1)]] = True
        else:
            held[order[self.fold :: self.folds]] = True
        return held


@dataclass(frozen=True)
class BlockSplit:
    """Which pixels of one raster are held back for validation.

    Args:
        side: of a square block (px).
        buffer: width of the belt around a held-back block that is in neither part (px), at most `side`.
        held: (block rows, block columns) bool.
    """

    side: int
    buffer: int
    held: NDArray[np.bool_]

    @classmethod
    def draw(cls, height: int, width: int, draw: "Draw", *, side: int, buffer: int) -> "BlockSplit":
        """Hold back some of the blocks of a raster.

        Raises:
            UsageError: fewer than two blocks, or a belt wider than a block.
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
        """(h, w) bool: neither held back nor in the belt."""
        # a belt no wider than a block touches only blocks in which one of these nine points lies
        steps = (-self.buffer, 0, self.buffer)
        near: NDArray[np.bool_] = np.logical_or.reduce([self._held(window, dr, dc) for dr in steps for dc in steps])
        return ~near

    def _held(self, window: Window, row_step: int, col_step: int) -> NDArray[np.bool_]:
        rows = (np.arange(window.row_off, window.row_stop) + row_step) // self.side
        cols = (np.arange(window.col_off, window.col_stop) + col_step) // self.side
        inside = ((rows >= 0) & (rows < self.held.shape[0]))[:, None] & ((cols >= 0) & (cols < self.held.shape[1]))
        last_row, last_col = self.held.shape[0] - 1, self.held.shape[1] - 1
        held: NDArray[np.bool_] = self.held[np.clip(rows, 0, last_row)[:, None], np.clip(cols, 0, last_col)]
        return np.asarray(held & inside, bool)
