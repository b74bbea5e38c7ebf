"""A network that sees the means of n x n pixels: it looks n times as far, for a square of n less work.

Photographs and very fine orthomosaics have more pixels than what is to be told apart needs. The mean is taken inside
the network, so that tiles, labels and maps stay on the raster's own pixels.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from agriseg.networks.receptive import Reach

Both = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class Reduced(nn.Module):
    """(N, C, h, w) float32 -> the inner network's answers for (N, C, h/n, w/n)."""

    def __init__(self, inner: nn.Module, factor: int) -> None:
        super().__init__()
        self.mean = nn.AvgPool2d(factor)
        self.inner = inner

    @property
    def last(self) -> nn.Module | None:
        """That of the inner network."""
        return cast("nn.Module | None", getattr(self.inner, "last", None))

    @property
    def forward_with_auxiliary(self) -> Both | None:
        """That of the inner network; None where it has no auxiliary head."""
        both: Both | None = getattr(self.inner, "forward_with_auxiliary", None)
        return None if both is None else lambda x: both(self.mean(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits; shapes as in the class."""
        logits: torch.Tensor = self.inner(self.mean(x))
        return logits


def plain(network: nn.Module) -> nn.Module:
    """The network itself, without the means before it: what weights from elsewhere fit."""
    return network.inner if isinstance(network, Reduced) else network


def reach(inner: Reach, factor: int) -> Reach:
    """What one logit sees when each pixel of the inner network is a mean of `factor` pixels a side."""
    return Reach(inner.jump * factor, inner.before * factor, inner.after * factor + factor - 1, inner.whole)
