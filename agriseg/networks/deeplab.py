"""DeepLabv3 on a dilated ResNet-50: torchvision's `deeplabv3_resnet50`.

Chen, Papandreou, Schroff and Adam 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv
1706.05587. One branch of its pyramid is the mean over the whole picture, so a tile's map depends on all of the tile.
"""

from torchvision.models.segmentation import deeplabv3_resnet50

from agriseg.networks.receptive_field import ReceptiveField
from agriseg.networks.torchvision_dilated import DilatedResNet, body_reach

_WIDEST = 36  # largest dilation of the pyramid


class DeepLabV3(DilatedResNet):
    """torchvision's DeepLabv3; shapes as in `DilatedResNet`. Training takes two samples or more at a time."""

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__(
            deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=classes, aux_loss=True), bands
        )


def reach() -> ReceptiveField:
    """What one logit sees: everything."""
    return body_reach(50).conv(3, dilation=_WIDEST).conv(3).pool_all()
