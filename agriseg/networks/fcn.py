"""FCN on a dilated ResNet: torchvision's `fcn_resnet50` and `fcn_resnet101`.

Long, Shelhamer and Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", arXiv 1411.4038.
"""

from typing import Literal

from torchvision.models.segmentation import fcn_resnet50, fcn_resnet101

from agriseg.networks.receptive_field import ReceptiveField
from agriseg.networks.torchvision_dilated import DilatedResNet, body_reach


class FCNResNet(DilatedResNet):
    """torchvision's FCN; shapes as in `DilatedResNet`."""

    def __init__(self, depth: Literal[50, 101], bands: int, classes: int) -> None:
        build = {50: fcn_resnet50, 101: fcn_resnet101}[depth]
        super().__init__(build(weights=None, weights_backbone=None, num_classes=classes, aux_loss=True), bands)


def reach(depth: Literal[50, 101]) -> ReceptiveField:
    """What one logit of the network sees."""
    return body_reach(depth).conv(3)
