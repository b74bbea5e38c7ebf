"""Logit adjustment: an offset for each class that raises the mean IoU.

A network trained for likelihood predicts the most probable class. A pixel raises the IoU of a class as soon as its
probability exceeds about IoU / (1 + IoU), which for a rare, uncertain class is far below one half (Lipton, Elkan and
Naryanaswamy 2014, arXiv 1402.1892, for F1). So the logits of each class get an offset, fitted on training pixels.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from agriseg.legend import NODATA
from agriseg.metrics import mean_iou
from agriseg.samples.augment import Augmentation, TrainingSamples

_CHIPS = 64  # without augmentation, at random pixels
_PIXELS = 500_000  # approximate number of pixels of these chips that are used
_TRIED = np.arange(-2, 2.01, 0.25)
_ROUNDS = 2
_STILL = Augmentation(mirror=False, rotate="none", zoom=1, brightness=0, channel_jitter=0)


@torch.no_grad()
def fit_logit_offsets(network: torch.nn.Module, samples: TrainingSamples, device: torch.device) -> list[float]:
    """Offset of the logits of each class, fitted on training chips without augmentation.

    The network is in evaluation mode, on `device`, and does not downsample its input.
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
    """Offsets of logits (N, K) with the highest mean IoU, by coordinate search in steps of 0.25."""
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
