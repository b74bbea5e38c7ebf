"""The first convolution for any number of bands, from weights that were trained on RGB."""

from collections.abc import Sequence

import torch

_RGB = ("red", "green", "blue")


def widen(weight: torch.Tensor, bands: Sequence[str]) -> torch.Tensor:
    """Spread the kernels of an RGB convolution over other bands.

    A band of role red, green or blue keeps its own kernel; any other band starts from the mean of the three.
    All are multiplied by 3 / n, so that n bands of like variance excite the next layer as three did. For
    exactly red, green, blue the weights come back unchanged.

    Args:
        weight: (O, 3, k, k), trained on red, green, blue in this order.
        bands: n roles.

    Returns:
        (O, n, k, k), same dtype.
    """
    mean = weight.mean(dim=1)
    kernels = [weight[:, _RGB.index(role)] if role in _RGB else mean for role in bands]
    return torch.stack(kernels, dim=1) * (3 / len(bands))
