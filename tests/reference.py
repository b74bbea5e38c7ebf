"""What a run must give, written a second time, as plainly as it can be said.

The raster is whole in memory, and so is a volume of weights: no windows that move, no bands, no store, no threads.
Nothing of `agriseg` is called but the network itself.
"""

from dataclasses import dataclass

import numpy as np
import torch

NODATA = 255


@dataclass(frozen=True)
class Tiling:
    """How one axis of a raster is cut; pixels, as in docs/design.md."""

    tile: int
    overlap: int
    margin: int
    stride: int
    align: int


@dataclass(frozen=True)
class Made:
    """The blended logits (K, H, W) float32 at every pixel, and what follows from them."""

    logits: torch.Tensor
    valid: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """(H, W) uint8; of equal logits the lowest class wins."""
        return np.where(self.valid, self.logits.numpy().argmax(0), NODATA).astype(np.uint8)

    @property
    def lead(self) -> np.ndarray:
        """(H, W): by how much the best class is ahead of the next one."""
        best, next_ = self.logits.double().topk(2, dim=0).values.numpy()
        return best - next_

    def shares(self, temperature: float) -> np.ndarray:
        """(K, H, W) float64: softmax."""
        return (self.logits.double() / temperature).softmax(0).numpy()


def starts(size: int, cut: Tiling) -> list[int]:
    """Where tiles begin before the last is moved back: one after the other until the padded axis is covered."""
    found = [0]
    while found[-1] + cut.tile < padded(size, cut):
        found.append(found[-1] + cut.tile - cut.overlap)
    return found


def padded(size: int, cut: Tiling) -> int:
    """Up to the next multiple of the coarsest step."""
    return int(np.ceil(size / cut.align)) * cut.align


def risen(length: int, start: int, cut: Tiling) -> np.ndarray:
    """How far the tile that begins at `start` has taken over from the one before it, for each cell of an axis."""
    cell = np.arange(length)
    first, width = (start + cut.margin) // cut.stride, (cut.overlap - 2 * cut.margin) // cut.stride
    ramp = np.sin(np.pi / 2 * (cell - first + 0.5) / max(width, 1)) ** 2
    return np.where(cell < first, 0, np.where(cell < first + width, ramp, 1)).astype(np.float32)


def weights(size: int, cut: Tiling) -> np.ndarray:
    """(tiles, cells) float32: a tile has what it took from the one before and has not yet given to the next."""
    length, begun = padded(size, cut) // cut.stride, starts(size, cut)
    rises = [
        np.ones(length, np.float32),
        *(risen(length, start, cut) for start in begun[1:]),
        np.zeros(length, np.float32),
    ]
    return np.stack([rises[k] * (1 - rises[k + 1]) for k in range(len(begun))])


@torch.inference_mode()
def blended(network: torch.nn.Module, x: np.ndarray, valid: np.ndarray, cut: Tiling) -> Made:
    """Every tile through the network, every answer times its weights into one volume, and that made large.

    Args:
        network: in evaluation.
        x: (C, H, W) float32, normalised, 0 where not valid.
        valid: (H, W) bool.
        cut: along both axes.
    """
    (height, width), stride = valid.shape, cut.stride
    down, across = padded(height, cut), padded(width, cut)
    whole = torch.zeros((1, len(x), down, across))
    whole[0, :, :height, :width] = torch.from_numpy(x)
    sums = None
    high, wide = min(cut.tile, down), min(cut.tile, across)
    for top, row_weights in zip(starts(height, cut), weights(height, cut), strict=True):
        for left, col_weights in zip(starts(width, cut), weights(width, cut), strict=True):
            at, to = min(top, down - high), min(left, across - wide)
            tile = whole[:, :, at : at + high, to : to + wide].contiguous(memory_format=torch.channels_last)
            answer = network(tile)[0].float()
            if sums is None:
                sums = torch.zeros((len(answer), down // stride, across // stride))
            place = torch.zeros_like(sums)
            place[:, at // stride : (at + high) // stride, to // stride : (to + wide) // stride] = answer
            sums.addcmul_(place, torch.from_numpy(np.outer(row_weights, col_weights)))
    assert sums is not None
    pixels = torch.nn.functional.interpolate(sums[None], (down, across), mode="bilinear", align_corners=False)[0]
    return Made(pixels[:, :height, :width], valid)


def normalised(pixels: np.ndarray, valid: np.ndarray, scale: float, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """(C, H, W) float32 by the model's own numbers; its mean, which is 0, where there is no data."""
    values = pixels.astype(np.float32) * np.float32(scale)
    values = (values - mean.astype(np.float32)[:, None, None]) / std.astype(np.float32)[:, None, None]
    return np.where(valid, values, 0).astype(np.float32)
