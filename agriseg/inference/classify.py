"""From blended cells to classes and confidence, on the device that holds them."""

import torch
from torch.nn import functional

from agriseg.legend import CONFIDENCE_STEP

_FULL = round(1 / CONFIDENCE_STEP)


def upsample(cells: torch.Tensor, stride: int) -> torch.Tensor:
    """Pixels (K, h * stride, w * stride) of cells (K, h, w) float32; exact where their neighbours are in `cells`.

    Bilinear upsampling, half-pixel centres, as torchvision does after its FCN.
    """
    if stride == 1:
        return cells
    size = (cells.shape[1] * stride, cells.shape[2] * stride)
    return functional.interpolate(cells[None], size=size, mode="bilinear", align_corners=False)[0]


def classify(logits: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Class of each pixel of logits (K, h, w) float32, the lowest of equal ones, and its confidence.

    Confidence is the largest softmax share of the logits over the temperature, in steps of 0.004.

    Returns:
        classes and confidence (h, w) uint8, and the softmax's log-denominator (h, w) float32 for `probabilities`.
    """
    best = logits[0].clone()
    classes = torch.zeros_like(best, dtype=torch.uint8)
    for k in range(1, len(logits)):  # 13 times faster than argmax(0) on a CPU
        better = logits[k] > best
        classes.masked_fill_(better, k)
        torch.maximum(best, logits[k], out=best)
    total = torch.zeros_like(best)
    for channel in logits:
        total += ((channel - best) / temperature).exp_()
    return classes, _counts(total.reciprocal()), best / temperature + total.log()


def probabilities(logits: torch.Tensor, temperature: float, denominator: torch.Tensor) -> torch.Tensor:
    """Softmax shares (K, h, w) uint8 in steps of 0.004, from `classify`'s log-denominator."""
    return torch.stack([_counts((channel / temperature - denominator).exp_()) for channel in logits])


def _counts(share: torch.Tensor) -> torch.Tensor:
    return (share * _FULL).round_().clamp_(0, _FULL).to(torch.uint8)
