"""ResNet (He et al. 2016, arXiv 1512.03385) as an encoder, with torchvision's names of its weights."""

import torch
from torch import nn

from agriseg.networks.from_torchvision import torchvision_network
from agriseg.networks.network_input import first_conv_for
from agriseg.networks.receptive_field import ReceptiveField

CHANNELS = {18: (64, 64, 128, 256, 512), 50: (64, 256, 512, 1024, 2048)}
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResNetFeatures(nn.Module):
    """(N, C, h, w) -> features at the strides 2, 4, 8, 16 and 32, with the channels of `CHANNELS`."""

    def __init__(self, depth: int, bands: int) -> None:
        super().__init__()
        body = torchvision_network(f"resnet{depth}")
        self.conv1 = first_conv_for(body.conv1, bands)
        self.bn1, self.relu, self.maxpool = body.bn1, body.relu, body.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = body.layer1, body.layer2, body.layer3, body.layer4

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The features, the finest first."""
        features = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


def resnet_reach(depth: int) -> ReceptiveField:
    """What a feature of stride 32 sees."""
    threes = 1 if depth == 50 else 2  # convolutions of kernel 3 in a block; the others of a bottleneck have kernel 1
    one, two, three, four = (threes * blocks for blocks in _BLOCKS[depth])
    reach = ReceptiveField().conv(7, stride=2).conv(3, stride=2).convs(one, 3)
    for convs in (two, three, four):
        reach = reach.conv(3, stride=2).convs(convs - 1, 3)
    return reach
