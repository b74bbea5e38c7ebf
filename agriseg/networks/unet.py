"""A U-Net decoder on an encoder that gives features at the strides 2 to 32.

The decoder is that of `unet_small`: sums in place of concatenation (LinkNet, arXiv 1707.03718), down to stride 2,
because plants are small.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from agriseg.networks.receptive_field import ReceptiveField

_WIDTHS = (32, 48, 64, 96, 128)
"""Channels of the decoder at the strides 2, 4, 8, 16 and 32."""


class UNet(nn.Module):
    """(N, C, h, w) float32 -> logits (N, K, h/2, w/2); h and w multiples of 32.

    Args:
        backbone: (N, C, h, w) to a list of features, the finest first.
        channels: of these features.
    """

    last = "score"

    def __init__(self, backbone: nn.Module, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.lateral = nn.ModuleList(_pointwise(each, width) for each, width in zip(channels, _WIDTHS, strict=True))
        self.up = nn.ModuleList(_pointwise(coarse, fine) for fine, coarse in pairwise(_WIDTHS))
        self.fuse = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for width in _WIDTHS[:-1]
        )
        self.score = nn.Conv2d(_WIDTHS[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.decode(self.backbone(x))

    def decode(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits of the backbone's features."""
        widths = [lateral(each) for lateral, each in zip(self.lateral, features, strict=True)]
        x = functional.relu(widths.pop())
        for up, fuse in zip(reversed(self.up), reversed(self.fuse), strict=True):
            doubled = functional.interpolate(up(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = fuse(doubled + widths.pop())
        logits: torch.Tensor = self.score(x)
        return logits


def decoded(reach: ReceptiveField) -> ReceptiveField:
    """What one logit sees, from what a feature of stride 32 sees."""
    for _ in _WIDTHS[1:]:
        reach = reach.double().conv(3)
    return reach


def _pointwise(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
