"""A plain fully convolutional network of a few layers, for demonstrations and tests.

No paper's network: five convolutions with growing dilation, after Yu and Koltun 2016, "Multi-Scale Context
Aggregation by Dilated Convolutions", arXiv 1511.07122.
"""

from torch import nn

from agriseg.networks.receptive_field import ReceptiveField

_WIDTH = 32
_DILATIONS = (1, 2, 4, 8)
LAST = 2 + 3 * len(_DILATIONS) + 1
"""Place of the last convolution."""


class FCNSmall(nn.Sequential):
    """(N, C, h, w) float32 -> logits (N, K, h/2, w/2); h and w even."""

    def __init__(self, bands: int, classes: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(bands, _WIDTH, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(_WIDTH)]
        for dilation in _DILATIONS:
            layers += [
                nn.ReLU(),
                nn.Conv2d(_WIDTH, _WIDTH, 3, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm2d(_WIDTH),
            ]
        super().__init__(*layers, nn.ReLU(), nn.Conv2d(_WIDTH, classes, 1))

    @property
    def last(self) -> nn.Module:
        """The layer whose bias goes into the logits as it is."""
        return self[LAST]


def reach() -> ReceptiveField:
    """What one logit sees."""
    reached = ReceptiveField().conv(3, stride=2)
    for dilation in _DILATIONS:
        reached = reached.conv(3, dilation=dilation)
    return reached
