"""What a network costs, without running it."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from agriseg.networks import Architecture

_SIDE = 512  # of the picture that is counted (px); all costs but those of pooled means grow with its area


def parameters(design: Architecture, bands: int = 3, classes: int = 3) -> int:
    """Number of trained weights, an auxiliary head included."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in design.build(bands, classes).parameters())


def multiply_adds(design: Architecture, bands: int = 3, classes: int = 3) -> float:
    """Multiply-adds of the convolutions per input pixel, without an auxiliary head."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.inference_mode():
        design.build(bands, classes).eval()(torch.empty(1, bands, _SIDE, _SIDE))
    return float(counter.get_total_flops()) / 2 / _SIDE**2
