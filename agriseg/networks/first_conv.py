"""The first convolution for any number of bands, and from weights that were trained on other bands."""

from collections.abc import Sequence

import torch
from torch import nn

RGB = ("red", "green", "blue")


def first_conv_for(conv: nn.Conv2d, bands: int) -> nn.Conv2d:
    """The same convolution with another number of input bands, with random weights (He et al. 2015, arXiv 1502.01852).

    One that has the number already comes back itself.
    """
    if conv.in_channels == bands:
        return conv
    made = nn.Conv2d(bands, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None)  # type: ignore[arg-type]
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def expand_first_conv(weight: torch.Tensor, bands: Sequence[str], given: Sequence[str] = RGB) -> torch.Tensor:
    """Spread the kernels of a convolution over other bands.

    A band that it was trained on keeps its own kernel; any other band starts from the mean of all.
    All are multiplied by m / n, so that n bands of like variance excite the next layer as m did. For
    the same bands in the same order the weights come back unchanged.

    Args:
        weight: (O, m, k, k), trained on the bands `given`.
        bands: n roles.
        given: m roles.

    Returns:
        (O, n, k, k), same dtype.
    """
    mean = weight.mean(dim=1)
    kernels = [weight[:, list(given).index(role)] if role in given else mean for role in bands]
    return torch.stack(kernels, dim=1) * (len(given) / len(bands))
