"""A small network on the features of every stride at once, which learns from labelled pixels in a fraction of a second.

The features of a pixel, put side by side, are its hypercolumn (Hariharan et al. 2015, arXiv 1411.5752). The first layer
is linear, and so is enlarging: it is applied to each stride's features before they are enlarged, where they are few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from agriseg.labelling.encoder import STRIDES, BlockFeatures
from agriseg.labelling.field import BLOCK

CELL = STRIDES[0]
"""Side of the cells that are classified (px)."""
_HIDDEN = 48
_STEPS, _BATCH, _RATE, _DECAY = 120, 512, 1e-2, 1e-3


@dataclass(frozen=True)
class LabelledCells:
    """Cells of the raster whose class is known.

    Args:
        features: (N, C) float32 hypercolumns.
        ids: (N,) int64 classes.
        place: (N, 2) int64 row and column of the cell in the raster's cells.
    """

    features: NDArray[np.float32]
    ids: NDArray[np.int64]
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def some(self, chosen: NDArray[np.bool_]) -> "LabelledCells":
        """Those of a mask."""
        return LabelledCells(self.features[chosen], self.ids[chosen], self.place[chosen])

    @classmethod
    def joined(cls, parts: Sequence["LabelledCells"]) -> "LabelledCells":
        """All of several sets; at least one."""
        return cls(*(np.concatenate(each) for each in zip(*(vars(part).values() for part in parts), strict=True)))


def hypercolumns(features: BlockFeatures, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, C) features of cells of a block, those of coarser strides between their neighbours (bilinear)."""
    side = BLOCK // CELL
    xy = torch.from_numpy(np.stack([(cols + 0.5) / side, (rows + 0.5) / side], axis=1)).float() * 2 - 1
    columns = [
        functional.grid_sample(
            torch.from_numpy(values)[None].float(), xy[None, None], padding_mode="border", align_corners=False
        )[0, :, 0].T
        for values in features.maps
    ]
    return torch.cat(columns, 1).numpy()


class PixelHead(nn.Module):
    """Logits of cells from their hypercolumns: standardize, one hidden layer, classes."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, channels: Sequence[int], classes: int, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.hidden = nn.Linear(sum(channels), _HIDDEN)
        self.score = nn.Linear(_HIDDEN, classes)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """(N, C) to (N, K)."""
        logits: torch.Tensor = self.score(functional.relu(self.hidden((columns - self.mean) / self.std)))
        return logits

    @torch.inference_mode()
    def logits(self, features: BlockFeatures) -> torch.Tensor:
        """(K, BLOCK / CELL, BLOCK / CELL) float32 of all cells of a block."""
        weight = self.hidden.weight / self.std
        bias = self.hidden.bias - weight @ self.mean
        side, total = BLOCK // CELL, bias[None, :, None, None]
        for values, part in zip(features.maps, torch.split(weight, list(self.channels), 1), strict=True):
            own = functional.conv2d(torch.from_numpy(values)[None].float(), part[:, :, None, None])
            total = total + functional.interpolate(own, (side, side), mode="bilinear", align_corners=False)
        return functional.conv2d(functional.relu(total), self.score.weight[:, :, None, None], self.score.bias)[0]


def train_head(cells: LabelledCells, channels: Sequence[int], classes: int) -> PixelHead:
    """Train a head on labelled cells; the classes count alike. The same cells give the same weights."""
    x, ids = torch.from_numpy(cells.features), torch.from_numpy(cells.ids)
    std, mean = torch.std_mean(x, 0, correction=0)
    counts = torch.bincount(ids, minlength=classes).float()
    weights = torch.where(counts > 0, counts.clamp(min=1).rsqrt(), 0.0)
    weights = weights / weights.sum() * (counts > 0).sum()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = PixelHead(channels, classes, mean, std.clamp(min=1e-3))
    optimiser = torch.optim.AdamW(head.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS + 1, cycle_momentum=False)
    rng = np.random.default_rng(0)
    for _ in range(_STEPS):
        drawn = torch.from_numpy(rng.integers(len(cells), size=min(_BATCH, len(cells))))
        loss = functional.cross_entropy(head(x[drawn]), ids[drawn], weights)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return head.eval()
