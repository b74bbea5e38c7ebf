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


def classify(logits: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Class of each pixel of logits (K, h, w) float32, the lowest of equal ones, and its confidence.

    Confidence is the largest softmax share of the logits over the temperature, in steps of 0.004.

    Returns:
        classes and confidence (h, w) uint8.
    """
    best = logits[0].clone()
    classes = torch.zeros_like(best, dtype=torch.uint8)
    for k in range(1, len(logits)):  # faster than argmax(0) on a CPU, and than to fill by a mask
        torch.maximum(classes, (logits[k] > best).view(torch.uint8).mul_(k), out=classes)
        torch.maximum(best, logits[k], out=best)
    return classes, _counts(_over_best(logits, best, temperature).reciprocal_())


def probabilities(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Softmax shares (K, h, w) uint8 in steps of 0.004, of logits (K, h, w) float32 over the temperature."""
    best = logits.amax(0)
    denominator = best / temperature + _over_best(logits, best, temperature).log_()
    return torch.stack([_counts((channel / temperature - denominator).exp_()) for channel in logits])


def _over_best(logits: torch.Tensor, best: torch.Tensor, temperature: float) -> torch.Tensor:
    """Sum of the shares of all classes (h, w), as multiples of that of the best one."""
    total, share = torch.zeros_like(best), torch.empty_like(best)
    for channel in logits:
        total += torch.sub(channel, best, out=share).div_(temperature).exp_()
    return total


def _counts(share: torch.Tensor) -> torch.Tensor:
    return (share * _FULL).round_().clamp_(0, _FULL).to(torch.uint8)
