"""SegNet: an encoder that remembers where its maxima lay, and a decoder that puts values back there.

Badrinarayanan, Kendall and Cipolla 2017, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", arXiv 1511.00561. The encoder is the 13 convolutions of VGG-16 with batch normalisation (Simonyan and
Zisserman 2015, arXiv 1409.1556) as torchvision has them; the decoder mirrors them, its last convolution gives the
classes. Outlines come from the remembered places, not from features passed over.
"""

import torch
from torch import nn

from agriseg.networks.from_torchvision import torchvision_network
from agriseg.networks.network_input import first_conv_for
from agriseg.networks.receptive_field import ReceptiveField

_ENCODER = (2, 2, 3, 3, 3)  # convolutions before each pooling
_DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))
"""Widths of the convolutions after each unpooling; one more, to the classes, ends the last."""


class SegNet(nn.Module):
    """(N, C, h, w) float32 -> logits (N, K, h, w); h and w multiples of 32."""

    last = "score"

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.backbone = torchvision_network("vgg16_bn")
        del self.backbone.avgpool, self.backbone.classifier
        features = self.backbone.features
        features[0] = first_conv_for(features[0], bands)
        for layer in features:
            if isinstance(layer, nn.MaxPool2d):
                layer.return_indices = True
        self.unpool = nn.MaxUnpool2d(2)
        self.decoder = nn.ModuleList()
        width = _DECODER[0][0]
        for widths in _DECODER:
            stage = nn.Sequential()
            for wide in widths:
                stage.extend([nn.Conv2d(width, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()])
                width = wide
            self.decoder.append(stage)
        self.score = nn.Conv2d(width, classes, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        places = []
        for layer in self.backbone.features:
            if isinstance(layer, nn.MaxPool2d):
                x, where = layer(x)
                places.append(where)
            else:
                x = layer(x)
        for stage in self.decoder:
            x = stage(self.unpool(x, places.pop()))
        logits: torch.Tensor = self.score(x)
        return logits


def segnet_reach() -> ReceptiveField:
    """What one logit sees: the path through stride 32, the widest."""
    reached = ReceptiveField()
    for convs in _ENCODER:
        reached = reached.convs(convs, 3).conv(2, stride=2)
    for convs in reversed(_ENCODER):
        reached = reached.unpool().convs(convs, 3)
    return reached
