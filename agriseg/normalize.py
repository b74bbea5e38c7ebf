"""From stored numbers to what a network was trained on, with the model's own constants.

Constants come from the model, never from the tile or the raster: statistics of a tile would make the map
depend on where the tiles lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_EXACT_IN_FLOAT32 = (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Normalization:
    """Network input = (stored * scale - mean) / std, per band; float32.

    Args:
        scale: stored number to physical value, such as 1/255 or 1/10000.
        mean: per band, after `scale`.
        std: per band, after `scale`.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, stored: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Normalise on the tensor's own device.

        Args:
            stored: (C, h, w), any real dtype. Wide integers and float64 are reduced in float64.
            valid: (h, w) bool.

        Returns:
            (C, h, w) float32; 0, the normalised mean, where not valid.
        """
        kind = torch.float32 if stored.dtype in _EXACT_IN_FLOAT32 else torch.float64
        values = stored.to(kind) * self.scale
        values = (values - _per_band(self.mean, values)) / _per_band(self.std, values)
        return values.to(torch.float32).masked_fill_(~valid, 0.0)


def _per_band(numbers: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(numbers, dtype=like.dtype, device=like.device).view(-1, 1, 1)
