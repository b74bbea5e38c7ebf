"""The input of a network: any number of bands, weights that were trained on other bands, means of n x n pixels.

Photographs and very fine orthomosaics have more pixels than the classes need. Over means of n x n pixels a network sees
n times as far, for a square of n less work. The mean is taken inside the network, so tiles, labels and maps keep the
raster's own pixels.
"""

from collections.abc import Sequence

import torch
from torch import nn

from agriseg.networks.exported import ExportedNetwork

RGB = ("red", "green", "blue")


def first_conv_for(conv: nn.Conv2d, bands: int) -> nn.Conv2d:
    """The convolution for another number of input bands, with random weights (He et al. 2015, arXiv 1502.01852)."""
    if conv.in_channels == bands:
        return conv
    made = nn.Conv2d(bands, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None)  # type: ignore[arg-type]
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def expand_first_conv(weight: torch.Tensor, bands: Sequence[str], trained_on: Sequence[str] = RGB) -> torch.Tensor:
    """Spread the kernels of a convolution over other bands.

    A band that it was trained on keeps its own kernel; any other band starts from the mean of all. All are multiplied
    by m / n, so that n bands of like variance excite the next layer as m did. The shape (O, m, k, k) of the kernels
    becomes (O, n, k, k), in the same dtype.
    """
    mean = weight.mean(dim=1)
    kernels = [weight[:, list(trained_on).index(role)] if role in trained_on else mean for role in bands]
    return torch.stack(kernels, dim=1) * (len(trained_on) / len(bands))


class DownsampledInput(nn.Module):
    """(N, C, h, w) float32 -> the logits of the inner network for (N, C, h/n, w/n)."""

    def __init__(self, inner: nn.Module, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.mean = nn.AvgPool2d(factor)
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.inner(self.mean(x))
        return logits


def without_downsampling(network: nn.Module) -> nn.Module:
    """The network itself, without the means before it: what weights from elsewhere fit, and what is trained."""
    return network.inner if isinstance(network, DownsampledInput) else network


def downsampling_factor(network: nn.Module) -> int:
    """How many pixels a side it takes the mean of; 1 for a plain network."""
    return network.factor if isinstance(network, DownsampledInput | ExportedNetwork) else 1
