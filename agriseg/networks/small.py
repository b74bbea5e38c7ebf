"""Small networks for machines without a GPU: a U-Net with residual blocks, and a plain FCN of a few layers.

The U of Ronneberger et al. 2015, arXiv 1505.04597, with the sums in place of concatenation of LinkNet (Chaurasia and
Culurciello 2017, arXiv 1707.03718) and the blocks of ResNet (He et al. 2016, arXiv 1512.03385). It decides at stride 2,
where an FCN-8s decides at stride 8: a weed of 20 px is ten cells wide and not two.

The plain one, for demonstrations and tests, is no paper's network: five convolutions with growing dilation, after Yu
and Koltun 2016, "Multi-Scale Context Aggregation by Dilated Convolutions", arXiv 1511.07122.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from agriseg.networks.receptive_field import ReceptiveField

_WIDTHS = (32, 64, 128, 192)  # at strides 2, 4, 8, 16
_FCN_WIDTH = 32
_DILATIONS = (1, 2, 4, 8)


class UNetSmall(nn.Module):
    """(N, C, h, w) float32 -> logits (N, K, h/2, w/2); h and w multiples of 16."""

    last = "score"

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.stem = _conv(bands, _WIDTHS[0], stride=2)
        self.stages = nn.ModuleList(_Block(width) for width in _WIDTHS)
        steps = list(pairwise(_WIDTHS))
        self.down = nn.ModuleList(_conv(fine, coarse, stride=2) for fine, coarse in steps)
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, fine, 1, bias=False), nn.BatchNorm2d(fine)) for fine, coarse in steps
        )
        self.fuse = nn.ModuleList(_conv(fine, fine) for fine, _ in steps)
        self.score = nn.Conv2d(_WIDTHS[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        features = [self.stages[0](self.stem(x))]
        for down, stage in zip(self.down, self.stages[1:], strict=True):
            features.append(stage(down(features[-1])))
        x = features.pop()
        for lateral, fuse in zip(reversed(self.lateral), reversed(self.fuse), strict=True):
            doubled = functional.interpolate(lateral(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = fuse(doubled + features.pop())
        logits: torch.Tensor = self.score(x)
        return logits


def unet_reach() -> ReceptiveField:
    """What one logit sees: the path through the coarsest stage, the widest."""
    reached = ReceptiveField().conv(3, stride=2).convs(2, 3)
    for _ in _WIDTHS[1:]:
        reached = reached.conv(3, stride=2).convs(2, 3)
    for _ in _WIDTHS[1:]:
        reached = reached.double().conv(3)
    return reached


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.second(self.first(x)))


def _conv(bands: int, width: int, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(bands, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


class FCNSmall(nn.Sequential):
    """(N, C, h, w) float32 -> logits (N, K, h/2, w/2); h and w even."""

    last = str(2 + 3 * len(_DILATIONS) + 1)

    def __init__(self, bands: int, classes: int) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(bands, _FCN_WIDTH, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(_FCN_WIDTH),
        ]
        for dilation in _DILATIONS:
            layers += [
                nn.ReLU(),
                nn.Conv2d(_FCN_WIDTH, _FCN_WIDTH, 3, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm2d(_FCN_WIDTH),
            ]
        super().__init__(*layers, nn.ReLU(), nn.Conv2d(_FCN_WIDTH, classes, 1))


def small_fcn_reach() -> ReceptiveField:
    """What one logit sees."""
    reached = ReceptiveField().conv(3, stride=2)
    for dilation in _DILATIONS:
        reached = reached.conv(3, dilation=dilation)
    return reached
