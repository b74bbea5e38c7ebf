"""torchvision's own segmentation networks with their keys, for any number of bands.

torchvision's own `forward` adds a bilinear upsampling, which the engine does after blending.

- FCN: Long, Shelhamer and Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", arXiv 1411.4038.
- DeepLabv3, and the dilated ResNet of both: Chen, Papandreou, Schroff and Adam 2017, "Rethinking Atrous Convolution for
  Semantic Image Segmentation", arXiv 1706.05587. One branch of its pyramid is the mean over the whole picture, so a
  tile's map depends on all of the tile.
- LR-ASPP on MobileNetV3-Large, for a laptop in the field: Howard et al. 2019, "Searching for MobileNetV3", arXiv
  1905.02244, section 6.3. It weighs channels by means over the whole picture, so a tile's map depends on all of the
  tile.
"""

from typing import Any

import torch
from torch import nn

from agriseg.networks.network_input import first_conv_for
from agriseg.networks.receptive_field import ReceptiveField

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_WIDEST = 36  # largest dilation of DeepLabv3's pyramid


def torchvision_network(name: str, **options: Any) -> Any:
    """A network of torchvision with random weights.

    torchvision is imported here: it imports torch's compiler, and so takes most of a second, which networks without
    it need not spend.
    """
    from torchvision.models import get_model

    return get_model(name, weights=None, **options)


class DilatedResNet(nn.Module):
    """FCN or DeepLabv3 on a dilated ResNet; training DeepLabv3 takes two samples or more at a time.

    (N, C, h, w) float32 -> (N, K, h/8, w/8); h and w multiples of 8.
    """

    last = "classifier.4"

    def __init__(self, name: str, bands: int, classes: int) -> None:
        super().__init__()
        whole = torchvision_network(name, weights_backbone=None, num_classes=classes, aux_loss=True)
        self.backbone = whole.backbone
        self.classifier = whole.classifier
        self.aux_classifier = whole.aux_classifier
        self.backbone.conv1 = first_conv_for(self.backbone.conv1, bands)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the main head."""
        logits: torch.Tensor = self.classifier(self.backbone(x)["out"])
        return logits

    def forward_with_auxiliary(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the main and the auxiliary head, both (N, K, h/8, w/8); for training."""
        features = self.backbone(x)
        return self.classifier(features["out"]), self.aux_classifier(features["aux"])


class LRASPP(nn.Module):
    """LR-ASPP: (N, C, h, w) float32 -> (N, K, h/8, w/8); h and w multiples of 16."""

    last = "classifier.low_classifier"

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        whole = torchvision_network("lraspp_mobilenet_v3_large", weights_backbone=None, num_classes=classes)
        self.backbone = whole.backbone
        self.classifier = whole.classifier
        stem = self.backbone["0"]
        stem[0] = first_conv_for(stem[0], bands)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.classifier(self.backbone(x))
        return logits


def fcn_reach(depth: int) -> ReceptiveField:
    """What one logit of FCN sees."""
    return _body_reach(depth).conv(3)


def deeplab_reach() -> ReceptiveField:
    """What one logit of DeepLabv3 sees: everything."""
    return _body_reach(50).conv(3, dilation=_WIDEST).conv(3).pool_all()


def lraspp_reach() -> ReceptiveField:
    """What one logit of LR-ASPP sees: everything."""
    return ReceptiveField(stride=8).pool_all()


def _body_reach(depth: int) -> ReceptiveField:
    """What one cell of the dilated features sees."""
    one, two, three, four = _BLOCKS[depth]
    stem = ReceptiveField().conv(7, stride=2).conv(3, stride=2).convs(one, 3)
    body = stem.conv(3, stride=2).convs(two - 1, 3)
    # torchvision keeps the dilation of the stage before in a dilated stage's first block
    body = body.conv(3).convs(three - 1, 3, dilation=2)
    return body.conv(3, dilation=2).convs(four - 1, 3, dilation=4)
