"""Where a network should draw the line between classes: offsets of its scores that serve the mean IoU.

A network trained for likelihood names a class where it is likelier than all others. A pixel helps the IoU of its class
already when it is likelier than about IoU / (1 + IoU), which for a rare and doubtful class is far below one half
(Lipton, Elkan and Naryanaswamy 2014, arXiv 1402.1892, for F1). So each class gets an offset, fitted on training ground.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from agriseg.legend import NODATA
from agriseg.metrics import mean_iou
from agriseg.training.augment import Augmentation, TrainingSamples

_CHIPS = 64  # unturned, from places drawn by pixel
_PIXELS = 500_000  # about as many of them are looked at
_TRIED = np.arange(-2, 2.01, 0.25)
_ROUNDS = 2
_STILL = Augmentation(mirror=False, rotate="none", zoom=1, brightness=0, channel_jitter=0)


@torch.no_grad()
def fit_logit_offsets(network: torch.nn.Module, samples: TrainingSamples, device: torch.device) -> list[float]:
    """One number per class to add to its logits, fitted on training chips.

    Args:
        network: in evaluation mode, on `device`; it takes samples as they are (`networks.plain`).
        samples: of the training; its scenes, seed and size of chips are used, not its augmentation.
        device: of the network.
    """
    still = replace(samples, rare_class_share=0.0, augmentation=_STILL, seed=samples.seed + 1)
    scores, truth = [], []
    for number in range(_CHIPS):
        x, ids = still[number]
        logits = network(x[None].to(device, memory_format=torch.channels_last)).float()
        full = functional.interpolate(logits, size=ids.shape, mode="bilinear", align_corners=False)[0].cpu()
        drawn = torch.from_numpy(np.random.default_rng(number).random(ids.shape) < _PIXELS / (_CHIPS * ids.numel()))
        known = (ids != NODATA) & drawn
        scores.append(full[:, known].numpy().T)
        truth.append(ids[known].numpy().astype(np.uint8))
    return best_offsets(np.concatenate(scores), np.concatenate(truth))


def best_offsets(logits: NDArray[np.float32], truth: NDArray[np.uint8]) -> list[float]:
    """Offsets that raise the mean IoU the most: each class in turn tries steps of 0.25, some rounds long.

    Args:
        logits: (N, K).
        truth: (N,) class ids.
    """
    classes = logits.shape[1]
    offsets = np.zeros(classes)
    for k in np.tile(np.arange(classes), _ROUNDS):
        matrices = _by_offset(logits + offsets, truth, k)
        reached = np.array([mean_iou(matrix) for matrix in matrices])
        if reached.max() > reached[len(_TRIED) // 2]:
            offsets[k] += _TRIED[reached.argmax()]
    return [float(offset) for offset in offsets]


def _by_offset(scores: NDArray[np.float64], truth: NDArray[np.uint8], k: int) -> list[NDArray[np.int64]]:
    """(K, K) confusion for each of `_TRIED` added to class k, which takes a pixel when it beats the best rival."""
    classes = scores.shape[1]
    others = np.where(np.arange(classes) == k, -np.inf, scores)
    rival = others.argmax(1)
    won_from = np.searchsorted(_TRIED, others.max(1) - scores[:, k], side="right")
    kinds = (won_from * classes + truth) * classes + rival
    counts = np.bincount(kinds, minlength=(len(_TRIED) + 1) * classes**2).reshape(-1, classes, classes)
    matrices = []
    for step in range(len(_TRIED)):
        matrix = counts[step + 1 :].sum(0)
        matrix[:, k] += counts[: step + 1].sum((0, 2))
        matrices.append(matrix)
    return matrices
