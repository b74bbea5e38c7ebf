"""The map of the newest head: classes and confidence of blocks, and tiles of them for the page."""

import io
import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from agriseg.grid import Window
from agriseg.labelling.encoder import Encoder
from agriseg.labelling.field import BLOCK, TILE, Field
from agriseg.labelling.pixel_head import CELL, PixelHead
from agriseg.legend import NODATA, Legend

COARSE = 16
"""Side of the cells whose mean probabilities are kept (px)."""
_ON_DEMAND = 2
"""Factor up to which a tile computes features that are not kept; beyond it they are left out."""


@dataclass(frozen=True)
class BlockMap:
    """What a head says of a block.

    Args:
        head: its number.
        ids: (BLOCK / CELL, BLOCK / CELL) uint8 classes, 255 without data.
        shares: (K, BLOCK / COARSE, BLOCK / COARSE) float16 mean probabilities.
        valid: (BLOCK / COARSE, BLOCK / COARSE) bool.
        sure: mean over its valid cells of the probability of their class; NaN without any.
    """

    head: int
    ids: NDArray[np.uint8]
    shares: NDArray[np.float16]
    valid: NDArray[np.bool_]
    sure: float


class HeadMap:
    """Maps blocks by the newest head, one at a time; threads may share it."""

    def __init__(self, field: Field, encoder: Encoder, legend: Legend) -> None:
        self._field, self._encoder, self._legend = field, encoder, legend
        self._lock = threading.Lock()
        self._head: PixelHead | None = None
        self.number = 0
        """Of the head; 0 before the first."""
        self.revision = 0
        """Of the picture that tiles show; it grows with each head, and when more of the raster is known."""
        self._blocks: dict[tuple[int, int], BlockMap] = {}

    @property
    def lock(self) -> threading.Lock:
        """Held by whoever computes: networks that share the processor cost more than they bring."""
        return self._lock

    def use(self, head: PixelHead | None) -> None:
        """Take a new head; the maps of the old one stay until they are made anew."""
        with self._lock:
            self._head, self.number = head, self.number + 1
        self.repaint()

    def repaint(self) -> None:
        """Tiles show more than before."""
        self.revision += 1

    @property
    def blocks(self) -> dict[tuple[int, int], BlockMap]:
        """Row and column of each mapped block, and its map by the head that was newest then."""
        return dict(self._blocks)

    def is_current(self, key: tuple[int, int]) -> bool:
        """Whether a block is mapped by the newest head."""
        return key in self._blocks and self._blocks[key].head == self.number

    def block(self, key: tuple[int, int]) -> BlockMap | None:
        """The map of a block by the newest head, made if need be; None without a head."""
        if self.is_current(key):  # first: a request for what is there waits for no computation
            return self._blocks[key]
        with self._lock:
            if self._head is None:
                return None
            if not self.is_current(key):
                self._blocks[key] = self._mapped(self._head, key)
            return self._blocks[key]

    def _mapped(self, head: PixelHead, key: tuple[int, int]) -> BlockMap:
        features = self._encoder.features(*key)
        p = torch.softmax(head.logits(features), 0)
        valid = features.valid[::CELL, ::CELL]
        sure, classes = p.max(0)
        ids = np.where(valid, classes.numpy().astype(np.uint8), np.uint8(NODATA))
        step = COARSE // CELL
        coarse = functional.avg_pool2d(p[None], step)[0].to(torch.float16).numpy()
        kept = np.asarray(valid.reshape(len(valid) // step, step, -1, step).any((1, 3)), bool)
        return BlockMap(self.number, ids, coarse, kept, float(sure.numpy()[valid].mean()) if valid.any() else np.nan)

    def tile(self, factor: int, col: int, row: int) -> bytes | None:
        """PNG of a tile, transparent where nothing is known; None outside the raster or without a head."""
        window = self._field.tile(factor, col, row)
        if window is None or self._head is None:
            return None
        ids = np.full((TILE, TILE), NODATA, np.uint8)
        known = self._encoder.known
        for key in self._field.blocks_of(window):
            if factor <= _ON_DEMAND or key in known:
                self._draw(ids, key, factor, window)
        return _coloured(ids, self._legend)

    def _draw(self, ids: NDArray[np.uint8], key: tuple[int, int], factor: int, window: Window) -> None:
        """Draw a block, by the newest head if its features are at hand, into the ids of a tile."""
        made = self._blocks.get(key) if factor > _ON_DEMAND and not self.is_current(key) else self.block(key)
        if made is None:
            return
        own = made.ids if factor >= CELL else np.repeat(np.repeat(made.ids, CELL, 0), CELL, 1)
        own = own[:: max(1, factor // CELL), :: max(1, factor // CELL)]
        top, left = (
            key[0] * BLOCK // factor - window.row_off // factor,
            key[1] * BLOCK // factor - window.col_off // factor,
        )
        rows = slice(max(0, top), min(TILE, top + len(own)))
        cols = slice(max(0, left), min(TILE, left + own.shape[1]))
        ids[rows, cols] = own[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]

    def sure(self) -> float | None:
        """Mean confidence of the mapped blocks; None without any."""
        values = [each.sure for each in self.blocks.values() if np.isfinite(each.sure)]
        return float(np.mean(values)) if values else None


def _coloured(ids: NDArray[np.uint8], legend: Legend) -> bytes:
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(legend)] = [entry.rgb for entry in legend]
    picture = Image.fromarray(ids)
    picture.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=NODATA, compress_level=1)
    return buffer.getvalue()
