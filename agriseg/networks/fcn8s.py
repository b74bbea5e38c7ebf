"""FCN-8s on ResNet-18, ResNet-34 and ResNet-50; the first two are small enough for a laptop.

Long, Shelhamer and Darrell 2015, arXiv 1411.4038, section 4: scores of the features at strides 32, 16 and 8 are
fused by upsampling twofold and adding; the twofold upsampling is learnt and starts as bilinear. The paper's
VGG-16 is replaced by a ResNet (He et al. 2016, arXiv 1512.03385).
"""

import torch
from torch import nn

from agriseg.networks.from_torchvision import torchvision_network
from agriseg.networks.network_input import first_conv_for
from agriseg.networks.receptive_field import ReceptiveField
from agriseg.networks.resnet_features import resnet_reach


class FCN8s(nn.Module):
    """(N, C, h, w) float32 -> logits (N, K, h/8, w/8); h and w multiples of 32."""

    last = "score8"

    def __init__(self, depth: int, bands: int, classes: int) -> None:
        super().__init__()
        self.backbone = torchvision_network(f"resnet{depth}")
        width = self.backbone.fc.in_features
        del self.backbone.fc
        self.backbone.conv1 = first_conv_for(self.backbone.conv1, bands)
        self.score8 = nn.Conv2d(width // 4, classes, 1)
        self.score16 = nn.Conv2d(width // 2, classes, 1)
        self.score32 = nn.Conv2d(width, classes, 1)
        self.double32 = _bilinear_double(classes)
        self.double16 = _bilinear_double(classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        body = self.backbone
        x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
        at8 = body.layer2(body.layer1(x))
        at16 = body.layer3(at8)
        at32 = body.layer4(at16)
        fused16 = self.score16(at16) + self.double32(self.score32(at32))
        logits: torch.Tensor = self.score8(at8) + self.double16(fused16)
        return logits


def fcn8s_reach(depth: int) -> ReceptiveField:
    """What one logit sees: the path through stride 32, the widest."""
    return resnet_reach(depth).double().double()


def _bilinear_double(channels: int) -> nn.ConvTranspose2d:
    """Twofold upsampling per channel that starts as bilinear interpolation."""
    layer = nn.ConvTranspose2d(channels, channels, kernel_size=4, stride=2, padding=1, bias=False)
    triangle = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(channels), range(channels)] = torch.outer(triangle, triangle)
    return layer
