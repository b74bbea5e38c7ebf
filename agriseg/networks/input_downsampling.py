"""A network that sees the means of n x n pixels: it looks n times as far, for a square of n less work.

Photographs and very fine orthomosaics have more pixels than what is to be told apart needs. The mean is taken inside
the network, so that tiles, labels and maps stay on the raster's own pixels.
"""

from typing import cast

import torch
from torch import nn

from agriseg.networks.receptive_field import ReceptiveField


class DownsampledInput(nn.Module):
    """(N, C, h, w) float32 -> the inner network's answers for (N, C, h/n, w/n)."""

    def __init__(self, inner: nn.Module, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.mean = nn.AvgPool2d(factor)
        self.inner = inner

    @property
    def last(self) -> nn.Module | None:
        """That of the inner network."""
        return cast("nn.Module | None", getattr(self.inner, "last", None))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits; shapes as in the class."""
        logits: torch.Tensor = self.inner(self.mean(x))
        return logits


def without_downsampling(network: nn.Module) -> nn.Module:
    """The network itself, without the means before it: what weights from elsewhere fit, and what is trained."""
    return network.inner if isinstance(network, DownsampledInput) else network


def downsampling_factor(network: nn.Module) -> int:
    """How many pixels a side it takes the mean of; 1 for a plain network."""
    return network.factor if isinstance(network, DownsampledInput) else 1


def reach(inner: ReceptiveField, factor: int) -> ReceptiveField:
    """What one logit sees when each pixel of the inner network is a mean of `factor` pixels a side."""
    return ReceptiveField(inner.stride * factor, inner.left * factor, inner.right * factor + factor - 1, inner.whole)
