"""A network that classifies a pixel by its colours alone: its own, and the means of its neighbourhood.

A small perceptron sees each band of the pixel and of the means over 3 x 3 and 7 x 7 pixels. It sees no shape, so it
cannot tell a weed from a crop. But the colours of plants and soil differ less from field to field than their shapes do:
from few fields it learns what holds in others.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from agriseg.networks.receptive_field import ReceptiveField

_SIDES = (3, 7)  # of the neighbourhoods (px)
_WIDTHS = (48, 32)


class PixelMLP(nn.Module):
    """(N, C, h, w) float32 -> logits (N, K, h, w)."""

    last = "score"

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        shapes = zip((bands * (1 + len(_SIDES)), *_WIDTHS), _WIDTHS, strict=False)
        self.layers = nn.Sequential(*(_pointwise(*shape) for shape in shapes))
        self.score = nn.Conv2d(_WIDTHS[-1], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.score(self.layers(torch.cat([x, *_means(x, _SIDES)], dim=1)))
        return logits


def pixel_mlp_reach() -> ReceptiveField:
    """What one logit sees: the largest neighbourhood."""
    return ReceptiveField().conv(max(_SIDES))


def _means(x: torch.Tensor, sides: Sequence[int]) -> list[torch.Tensor]:
    """Means of neighbourhoods; at the edge of the picture, of their part in it."""
    return [functional.avg_pool2d(x, side, 1, side // 2, count_include_pad=False) for side in sides]


def _pointwise(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
