"""FCN-8s on ResNet-18 and ResNet-34: small enough for a laptop.

Long, Shelhamer and Darrell 2015, arXiv 1411.4038, section 4: scores of the features at strides 32, 16 and 8 are
fused by upsampling twofold and adding; the twofold upsampling is learnt and starts as bilinear. The paper's
VGG-16 is replaced by a ResNet (He et al. 2016, arXiv 1512.03385).
"""

from typing import Literal

import torch
from torch import nn
from torchvision.models import resnet18, resnet34

from agriseg.networks.receptive import Reach

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class FCN8s(nn.Module):
    """(N, C, h, w) float32 -> logits (N, K, h/8, w/8); h and w multiples of 32."""

    def __init__(self, depth: Literal[18, 34], bands: int, classes: int) -> None:
        super().__init__()
        self.backbone = {18: resnet18, 34: resnet34}[depth](weights=None)
        del self.backbone.fc
        if bands != 3:
            self.backbone.conv1 = nn.Conv2d(bands, 64, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.score8 = nn.Conv2d(128, classes, 1)
        self.score16 = nn.Conv2d(256, classes, 1)
        self.score32 = nn.Conv2d(512, classes, 1)
        self.double32 = _bilinear_double(classes)
        self.double16 = _bilinear_double(classes)

    @property
    def last(self) -> nn.Module:
        """The layer whose bias goes into the logits as it is."""
        return self.score8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits; shapes as in the class."""
        body = self.backbone
        x = body.maxpool(body.relu(body.bn1(body.conv1(x))))
        at8 = body.layer2(body.layer1(x))
        at16 = body.layer3(at8)
        at32 = body.layer4(at16)
        fused16 = self.score16(at16) + self.double32(self.score32(at32))
        logits: torch.Tensor = self.score8(at8) + self.double16(fused16)
        return logits


def reach(depth: Literal[18, 34]) -> Reach:
    """What one logit sees: the path through stride 32, the widest."""
    one, two, three, four = (2 * blocks for blocks in _BLOCKS[depth])
    body = Reach().conv(7, stride=2).conv(3, stride=2).convs(one, 3)
    for convs in (two, three, four):
        body = body.conv(3, stride=2).convs(convs - 1, 3)
    return body.double().double()


def _bilinear_double(channels: int) -> nn.ConvTranspose2d:
    """Twofold upsampling per channel that starts as bilinear interpolation."""
    layer = nn.ConvTranspose2d(channels, channels, kernel_size=4, stride=2, padding=1, bias=False)
    triangle = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(channels), range(channels)] = torch.outer(triangle, triangle)
    return layer
