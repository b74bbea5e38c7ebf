"""FCN on a dilated ResNet: torchvision's `fcn_resnet50` and `fcn_resnet101`.

Long, Shelhamer and Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", arXiv 1411.4038, with
the dilated backbone of Chen et al. 2017, arXiv 1706.05587, as torchvision builds it.
"""

from typing import Literal

import torch
from torch import nn
from torchvision.models.segmentation import fcn_resnet50, fcn_resnet101

from agriseg.networks.receptive import Reach

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class FCNResNet(nn.Module):
    """torchvision's FCN with its keys and its auxiliary head, giving logits at stride 8.

    (N, C, h, w) float32 -> (N, K, h/8, w/8); h and w multiples of 8. torchvision's own forward adds a
    bilinear upsampling by 8, which the engine does after blending.
    """

    def __init__(self, depth: Literal[50, 101], bands: int, classes: int) -> None:
        super().__init__()
        build = {50: fcn_resnet50, 101: fcn_resnet101}[depth]
        whole = build(weights=None, weights_backbone=None, num_classes=classes, aux_loss=True)
        self.backbone = whole.backbone
        self.classifier = whole.classifier
        self.aux_classifier = whole.aux_classifier
        if bands != 3:
            self.backbone.conv1 = nn.Conv2d(bands, 64, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.backbone.conv1.weight, mode="fan_out", nonlinearity="relu")

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


def reach(depth: Literal[50, 101]) -> Reach:
    """What one logit of the network sees."""
    one, two, three, four = _BLOCKS[depth]
    stem = Reach().conv(7, stride=2).conv(3, stride=2).convs(one, 3)
    body = stem.conv(3, stride=2).convs(two - 1, 3)
    # torchvision keeps the dilation of the stage before in a dilated stage's first block
    body = body.conv(3).convs(three - 1, 3, dilation=2)
    body = body.conv(3, dilation=2).convs(four - 1, 3, dilation=4)
    return body.conv(3)
