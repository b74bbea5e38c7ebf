"""Losses over logits and class ids, without pixels of 255, and weighted sums of them."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch.nn import functional

from agriseg.errors import ModelError
from agriseg.legend import NODATA

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_FOCAL_GAMMA = 2.0  # of Lin et al. 2017, arXiv 1708.02002
_OHEM_SHARE = 0.25  # of the pixels that OHEM keeps


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Mean cross-entropy of the labelled pixels, weighted by class; 0 where none is labelled.

    Args:
        logits: (N, K, h, w) float32.
        labels: (N, h, w) int64, 255 not counted.
        weights: (K,) or None.
    """
    total = functional.cross_entropy(logits, labels, weights, ignore_index=NODATA, reduction="sum")
    counted = labels[labels != NODATA]
    amount = counted.numel() if weights is None else weights[counted].sum()
    return total / amount if counted.numel() else total


def dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """1 - mean Dice over the classes that occur in the batch (Milletari et al. 2016, arXiv 1606.04797)."""
    known = (labels != NODATA)[:, None]
    truth = functional.one_hot(labels.where(labels != NODATA, 0), logits.shape[1]).permute(0, 3, 1, 2) * known
    shares = logits.softmax(1) * known
    both, either = (shares * truth).sum((0, 2, 3)), (shares + truth).sum((0, 2, 3))
    present = truth.sum((0, 2, 3)) > 0
    return 1 - (2 * both[present] / either[present]).mean() if present.any() else logits.sum() * 0


def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with less weight on well-classified pixels (Lin et al. 2017)."""
    losses = functional.cross_entropy(logits, labels, ignore_index=NODATA, reduction="none")
    return ((1 - torch.exp(-losses)) ** _FOCAL_GAMMA * losses).sum() / (labels != NODATA).sum().clamp(min=1)


def ohem(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the hardest quarter of the labelled pixels (Shrivastava et al. 2016, arXiv 1604.03540)."""
    losses = functional.cross_entropy(logits, labels, ignore_index=NODATA, reduction="none")[labels != NODATA]
    return (
        losses.topk(max(1, round(_OHEM_SHARE * losses.numel()))).values.mean() if losses.numel() else logits.sum() * 0
    )


def build_loss(parts: Mapping[str, float], class_weights: torch.Tensor | None = None) -> Loss:
    """The weighted sum of the losses that a configuration names, such as `{"ce": 1, "dice": 1}`.

    Raises:
        ModelError: an unknown name.
    """
    known: dict[str, Loss] = {"ce": partial(cross_entropy, weights=class_weights)}
    known |= {"dice": dice, "focal": focal, "ohem": ohem}
    unknown = [name for name in parts if name not in known]
    if unknown or not parts:
        raise ModelError(f"loss {', '.join(unknown) or 'without a part'}; known are {', '.join(known)}")

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.stack([share * known[name](logits, labels) for name, share in parts.items()]).sum()

    return loss
