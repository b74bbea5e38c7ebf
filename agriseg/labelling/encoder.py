"""Features of the blocks of a raster from a pretrained encoder, computed once and kept: in memory, then on disk."""

import threading
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from agriseg.backends.fuse import fused
from agriseg.grid import Window
from agriseg.labelling.field import BLOCK, Field
from agriseg.networks.normalization import Normalization
from agriseg.raster.reader import Reader

STRIDES = (2, 4, 8, 16, 32)
"""Of the features, in pixels."""
_CONTEXT = 64  # px read around a block, a multiple of the coarsest stride
_IN_MEMORY = 40  # blocks: some 140 MB; those on disk are read in milliseconds
_ON_DISK = 3 * 10**9  # bytes


@dataclass(frozen=True)
class BlockFeatures:
    """What the encoder sees in a block.

    Args:
        maps: of each stride (C, BLOCK / stride, BLOCK / stride) float16; 0 beyond the raster's padding.
        valid: (BLOCK, BLOCK) bool, False beyond the raster.
    """

    maps: tuple[NDArray[np.float16], ...]
    valid: NDArray[np.bool_]


class Encoder:
    """Computes and keeps features of the blocks of a field; threads may share it.

    Args:
        backbone: (1, C, h, w) float32 to features of `STRIDES`, in evaluation mode.
        folder: for the features that do not fit into memory; it must exist.
    """

    def __init__(self, field: Field, backbone: nn.Module, normalization: Normalization, folder: Path) -> None:
        self._field, self._backbone, self._normalization = field, fused(backbone), normalization
        self._folder, self._lock = folder, threading.Lock()
        self._kept: OrderedDict[tuple[int, int], BlockFeatures] = OrderedDict()
        self._stored: dict[tuple[int, int], int] = {}
        self._channels: tuple[int, ...] = ()
        self.generation = 0
        """Number of the encoder, from 0; `use` takes the next."""
        self._open = ExitStack()
        self._reader = self._open.enter_context(Reader(field.source))

    def close(self) -> None:
        """Close the raster."""
        self._open.close()

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the features of each stride."""
        if not self._channels:
            self._channels = tuple(len(values) for values in self.features(0, 0).maps)
        return self._channels

    def use(self, backbone: nn.Module, normalization: Normalization) -> None:
        """Take another encoder; what was kept of the former one is dropped."""
        with self._lock:
            self._backbone, self._normalization = fused(backbone), normalization
            self.generation += 1
            self._channels = ()
            self._kept.clear()
            self._stored.clear()

    @property
    def known(self) -> frozenset[tuple[int, int]]:
        """Blocks whose features are kept."""
        with self._lock:
            return frozenset(self._kept) | frozenset(self._stored)

    @property
    def full(self) -> bool:
        """Whether no more may be kept on disk."""
        with self._lock:
            return sum(self._stored.values()) >= _ON_DISK

    def features(self, row: int, col: int) -> BlockFeatures:
        """Those of a block, computed if they are not kept; DataError if it cannot be read."""
        key = row, col
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            stored, generation = key in self._stored, self.generation
        made = self._read(key) if stored else self._computed(key)
        with self._lock:
            if current := generation == self.generation:
                self._kept[key] = made
            dropped = [self._kept.popitem(last=False) for _ in range(max(0, len(self._kept) - _IN_MEMORY))]
        if not current:  # computed by an encoder that `use` has replaced meanwhile
            return self.features(row, col)
        for each, features in dropped:
            self._write(each, features, generation)
        return made

    @torch.inference_mode()
    def _computed(self, key: tuple[int, int]) -> BlockFeatures:
        block = self._field.block(*key)
        pixels, valid = self._read_around(block)
        x = self._normalization(torch.from_numpy(pixels), torch.from_numpy(valid))[None]
        maps = self._backbone(x.contiguous(memory_format=torch.channels_last))
        kept = []
        for stride, values in zip(STRIDES, maps, strict=True):
            start, side = _CONTEXT // stride, BLOCK // stride
            kept.append(values[0, :, start : start + side, start : start + side].to(torch.float16).numpy().copy())
        inner = slice(_CONTEXT, _CONTEXT + BLOCK)
        return BlockFeatures(tuple(kept), valid[inner, inner].copy())

    def _read_around(self, block: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Stored pixels (C, s, s) and validity (s, s) of a block and its context; not valid beyond the raster."""
        side, source = BLOCK + 2 * _CONTEXT, self._field.source
        top, left = max(0, block.row_off - _CONTEXT), max(0, block.col_off - _CONTEXT)
        bottom = min(source.height, block.row_off + BLOCK + _CONTEXT)
        right = min(source.width, block.col_off + BLOCK + _CONTEXT)
        strip = self._reader.read(Window(left, top, right - left, bottom - top))
        pixels = np.zeros((len(source.bands), side, side), strip.pixels.dtype)
        valid = np.zeros((side, side), bool)
        rows = slice(top - block.row_off + _CONTEXT, bottom - block.row_off + _CONTEXT)
        cols = slice(left - block.col_off + _CONTEXT, right - block.col_off + _CONTEXT)
        pixels[:, rows, cols], valid[rows, cols] = strip.pixels, strip.valid
        return pixels, valid

    def _file(self, key: tuple[int, int]) -> Path:
        return self._folder / f"{key[0]}_{key[1]}.npz"

    def _write(self, key: tuple[int, int], features: BlockFeatures, generation: int) -> None:
        """Keep features on disk, unless they are there or the limit is reached: then they are computed again."""
        if key in self._stored or self.full:
            return
        path = self._file(key)
        try:
            with path.open("wb") as file:
                np.savez(file, *features.maps, valid=features.valid)
        except OSError:  # the disk is full: what is not kept is computed again
            path.unlink(missing_ok=True)
            return
        with self._lock:
            if generation == self.generation:
                self._stored[key] = path.stat().st_size

    def _read(self, key: tuple[int, int]) -> BlockFeatures:
        with np.load(self._file(key), allow_pickle=False) as file:
            return BlockFeatures(tuple(file[f"arr_{number}"] for number in range(len(STRIDES))), file["valid"])
