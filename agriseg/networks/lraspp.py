"""LR-ASPP on MobileNetV3-Large: torchvision's `lraspp_mobilenet_v3_large`, for a laptop in the field.

Howard et al. 2019, "Searching for MobileNetV3", arXiv 1905.02244, section 6.3. Its head and the squeeze-and-excitation
of its blocks weigh channels by means over the whole picture, so a tile's map depends on all of the tile.
"""

import torch
from torch import nn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from agriseg.networks.first_conv import first_conv_for
from agriseg.networks.receptive_field import ReceptiveField


class LRASPP(nn.Module):
    """torchvision's LR-ASPP with its keys, giving logits at stride 8.

    (N, C, h, w) float32 -> (N, K, h/8, w/8); h and w multiples of 16. torchvision's own forward adds a bilinear
    upsampling by 8, which the engine does after blending.
    """

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        whole = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=classes)
        self.backbone = whole.backbone
        self.classifier = whole.classifier
        stem = self.backbone["0"]
        stem[0] = first_conv_for(stem[0], bands)

    @property
    def last(self) -> nn.Module:
        """The layer whose bias goes into the logits as it is."""
        last: nn.Module = self.classifier.low_classifier
        return last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits; shapes as in the class."""
        logits: torch.Tensor = self.classifier(self.backbone(x))
        return logits


def reach() -> ReceptiveField:
    """What one logit sees: everything."""
    return ReceptiveField(stride=8).pool_all()
