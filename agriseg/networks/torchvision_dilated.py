"""What torchvision's FCN and DeepLab share: a dilated ResNet with a head, and an auxiliary head a stage before it.

The dilated backbone is that of Chen et al. 2017, arXiv 1706.05587, as torchvision builds it.
"""

from typing import Any, Literal

import torch
from torch import nn

from agriseg.networks.first_conv import first_conv_for
from agriseg.networks.receptive_field import ReceptiveField

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class DilatedResNet(nn.Module):
    """One of torchvision's segmentation networks with its keys, giving logits at stride 8.

    (N, C, h, w) float32 -> (N, K, h/8, w/8); h and w multiples of 8. torchvision's own forward adds a
    bilinear upsampling by 8, which the engine does after blending.
    """

    def __init__(self, whole: Any, bands: int) -> None:
        super().__init__()
        self.backbone = whole.backbone
        self.classifier = whole.classifier
        self.aux_classifier = whole.aux_classifier
        self.backbone.conv1 = first_conv_for(self.backbone.conv1, bands)

    @property
    def last(self) -> nn.Module:
        """The layer whose bias goes into the logits as it is."""
        last: nn.Module = self.classifier[-1]
        return last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits; shapes as in the class."""
        logits: torch.Tensor = self.classifier(self.backbone(x)["out"])
        return logits

    def forward_with_auxiliary(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the main and the auxiliary head, both (N, K, h/8, w/8); for training."""
        features = self.backbone(x)
        return self.classifier(features["out"]), self.aux_classifier(features["aux"])


def body_reach(depth: Literal[50, 101]) -> ReceptiveField:
    """What one cell of the last features sees."""
    one, two, three, four = _BLOCKS[depth]
    stem = ReceptiveField().conv(7, stride=2).conv(3, stride=2).convs(one, 3)
    body = stem.conv(3, stride=2).convs(two - 1, 3)
    # torchvision keeps the dilation of the stage before in a dilated stage's first block
    body = body.conv(3).convs(three - 1, 3, dilation=2)
    return body.conv(3, dilation=2).convs(four - 1, 3, dilation=4)
