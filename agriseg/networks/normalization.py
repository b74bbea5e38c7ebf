"""Stored numbers of a raster to the input of a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

NormalizeBy = Literal["training", "raster"]
_ADAPTATION = 0.6
"""Share of a raster's mean colour that is subtracted. 0.5 to 0.7 measured best on fields left out, 0 and 1 worse."""
_EXACT_IN_FLOAT32 = (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Normalization:
    """Network input = (stored * scale - mean) / std, per band; float32.

    The constants are the same for all of a raster: statistics of a tile would make the map depend on the tiling.
    `scale` is stored number to physical value, such as 1/255 or 1/10000.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, stored: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Normalise (C, h, w) of any real dtype to float32; 0, the normalised mean, where not `valid` (h, w).

        Wide integers and float64 are reduced in float64.
        """
        kind = torch.float32 if stored.dtype in _EXACT_IN_FLOAT32 else torch.float64
        values = stored.to(kind, copy=True)
        for band, mean, std in zip(values, self.mean, self.std, strict=True):  # numbers: no copies to the device
            band.mul_(self.scale).sub_(mean).div_(std)
        return torch.where(valid.contiguous(), values.to(torch.float32), 0.0)


def relative_to(raster_mean: Sequence[float]) -> tuple[float, tuple[float, ...]]:
    """Scale, and offset per band, with which stored * scale - offset does not depend on the exposure of a raster.

    The scale divides by the mean brightness; the offset takes away part of the mean colour: an incomplete adaptation.
    """
    scale = len(raster_mean) / sum(raster_mean)
    return scale, tuple(_ADAPTATION * scale * mean for mean in raster_mean)
