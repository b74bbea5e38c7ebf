"""Weights that sum to one, and the fold that uses them.

The grid is a product of two axes, so a tile's weights are the outer product of two 1-D profiles. Between two
neighbours one profile falls as `1 - w` where the other rises as `w`; so the profiles sum to one by
construction, and folding is a plain sum: no weight volume, no division, no 0/0.

`margin = overlap / 2` leaves no ramp: each tile is cropped to its own part, the exact mode. `margin = 0` is a
Hann window. In between, the part of the overlap that the network saw with little context is not trusted.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.grid import Axis


def ramp(length: int) -> NDArray[np.float32]:
    """Rising half of a Hann window, sampled at cell centres.

    Returns:
        (length,) float32 in (0, 1): sin^2(pi/2 * (i + 1/2) / length).
        Source: Pielawski and Waehlby 2020, doi 10.1371/journal.pone.0229839 (Hann, the best of the compared).
    """
    position = (np.arange(length) + 0.5) / max(length, 1)
    return (np.sin(np.pi / 2 * position) ** 2).astype(np.float32)


def profile(axis: Axis, index: int) -> NDArray[np.float32]:
    """Weight of each cell of tile `index` along one axis.

    Returns:
        (axis.length / axis.stride,) float32 in [0, 1]. Over all tiles the profiles sum to one in every cell.

    >>> profile(Axis(size=12, tile=8, overlap=4, margin=2), 0)
    array([1., 1., 1., 1., 1., 1., 0., 0.], dtype=float32)
    """
    origin, stride = axis.origin(index), axis.stride
    weights = np.zeros(axis.length // stride, np.float32)
    first, last = ((edge - origin) // stride for edge in axis.support(index))
    weights[first:last] = 1
    rise = ramp((axis.overlap - 2 * axis.margin) // stride)
    if index > 0:
        weights[first : first + len(rise)] = rise
    if index < len(axis) - 1:
        weights[last - len(rise) : last] = 1 - rise
    return weights


def fold(
    sums: torch.Tensor, logits: torch.Tensor, weights: torch.Tensor, window: tuple[slice, slice], at: tuple[int, int]
) -> None:
    """Add a tile's weighted logits to the running sums, in place.

    Args:
        sums: (K, h, w) float32, the cells being gathered.
        logits: (K, p, q) float32, one tile.
        weights: (p, q) float32, that tile's weights.
        window: the cells of the tile that have weight.
        at: row and column in `sums` of the tile's first cell; may lie before `sums`.
    """
    rows, cols = window
    target = sums[
        :, at[0] + rows.start : at[0] + rows.stop, at[1] + cols.start : at[1] + cols.stop
    ]
    target.addcmul_(logits[:, rows, cols], weights[rows, cols])
