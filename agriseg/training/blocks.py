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
    def draw(cls, height: int, width: int, *, side: int, buffer: int, share: float, seed: int) -> "BlockSplit":
        """Hold back a seeded random `share` of the blocks, at least one and never all.

        Raises:
            UsageError: fewer than two blocks, or a belt wider than a block.
        """
        shape = -(-height // side), -(-width // side)
        count = shape[0] * shape[1]
        if count < 2:
            raise UsageError(f"blocks of {side} px on {width} x {height} px leave one block; use smaller ones")
        if not 0 <= buffer <= side:
            raise UsageError(f"buffer {buffer} px, expected 0 to the block's {side}")
        held = np.zeros(count, bool)
        held[np.random.default_rng(seed).permutation(count)[: min(max(1, round(share * count)), count - 1)]] = True
        return cls(side, buffer, held.reshape(shape))

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
