"""The network as the peers take it: stored numbers of a tile to logits of its pixels."""

import torch
from torch import nn
from torch.nn import functional

from agriseg.model import SegmentationModel


class PixelNetwork(nn.Module):
    """(N, C, h, w) stored numbers of any real dtype -> (N, K, h, w) float32 logits.

    Normalisation and upsampling are within, since most peers have neither. An image whose sides are no multiples of the
    network's step is padded with the normalised mean at its right and lower edge, as an untiled run of agriseg pads it.

    Raises:
        ValueError: the model normalises by the raster, so a network alone does not make its map.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        if model.normalize_by != "training":
            raise ValueError(f"{model.name} normalises by the raster; use a model with constants, such as potato-weed")
        self.network = model.network.eval()
        self.scale, self.stride, self.step = model.scale, model.stride, model.step
        self.register_buffer("mean", torch.tensor(model.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(model.std).view(1, -1, 1, 1))

    def forward(self, stored: torch.Tensor) -> torch.Tensor:
        """Logits."""
        height, width = int(stored.shape[2]), int(stored.shape[3])
        x = (stored.to(torch.float32) * self.scale - self.mean) / self.std
        x = functional.pad(x, (0, -width % self.step, 0, -height % self.step))
        logits = self.network(x)
        if self.stride > 1:
            logits = functional.interpolate(logits, scale_factor=self.stride, mode="bilinear", align_corners=False)
        return logits[:, :, :height, :width]


class CountedNetwork(nn.Module):
    """A network that counts the pixels it is given: `pixels` over all calls."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.pixels = 0

    def forward(self, stored: torch.Tensor) -> torch.Tensor:
        """Logits of the inner network."""
        batch, _, height, width = stored.shape
        self.pixels += int(batch * height * width)
        logits: torch.Tensor = self.inner(stored)
        return logits
