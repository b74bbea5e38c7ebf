"""Calibration of a model: a softmax temperature fitted on labelled pixels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.evaluation.common_grid import Read
from agriseg.grid import Window
from agriseg.inference.predict import LogitsObserver
from agriseg.legend import NODATA
from agriseg.metrics import calibration_error, fit_temperature, softmax_confidence

_PIXELS = 400_000  # kept at most
_PRIOR = 1000  # pixels for which the confidence of the uncalibrated model is assumed to be right
_LEVELS = 1000  # of confidence, for the calibration error


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature.

    Args:
        temperature: divides the logits; the fewer pixels, the closer to 1.
        error: expected calibration error at this temperature, over the fitted pixels.
    """

    temperature: float
    error: float
    pixels: int

    @classmethod
    def of(cls, logits: NDArray[np.float32], truth: NDArray[np.uint8]) -> "Calibration":
        """Fit to logits (N, K) of pixels of classes (N,), at least one."""
        temperature = fit_temperature(logits, truth, _PRIOR)
        level = np.rint(softmax_confidence(logits, temperature) * _LEVELS).astype(int)
        pixels = np.bincount(level, minlength=_LEVELS + 1)
        hits = np.bincount(level[logits.argmax(1) == truth], minlength=_LEVELS + 1)
        return cls(temperature, calibration_error(pixels, hits), len(truth))

    @property
    def doubt(self) -> str | None:
        """A warning where there are too few pixels; else None."""
        if self.pixels >= _PRIOR:
            return None
        return f"confidence is calibrated on only {self.pixels} labelled pixels, fewer than {_PRIOR:,}: do not trust it"


class CalibrationSampler:
    """Collects logits of labelled pixels while maps are made: all of them, or a random sample of `kept`.

    Each pixel gets a random key, and those with the lowest keys are kept. So the sample does not depend on the amount
    of unlabelled ground around the labels.
    """

    def __init__(self, kept: int = _PIXELS) -> None:
        self._kept = kept
        self._parts: list[tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float64]]] = []  # logits, ids, keys
        self._rasters = 0

    def observer(self, labels: Read) -> LogitsObserver:
        """An observer of the logits of a raster, with its labels on the grid of the logits."""
        self._rasters += 1
        raster = self._rasters

        def collect(logits: torch.Tensor, known: torch.Tensor, window: Window) -> None:
            ids = labels(window)
            labelled = (ids != NODATA) & known.cpu().numpy()
            if not labelled.any():
                return
            values = logits.permute(1, 2, 0).cpu().numpy()[labelled].astype(np.float32)
            seed = raster, window.row_off, window.row_stop, window.col_off, window.col_stop
            keys = np.random.default_rng(seed).random(ids.shape)[labelled]
            self._parts.append((values, ids[labelled], keys))
            if sum(len(part[2]) for part in self._parts) > 2 * self._kept:
                self._thin()

        return collect

    def calibration(self) -> Calibration | None:
        """The calibration fitted on the collected pixels; None if there are none."""
        if not self._parts:
            return None
        self._thin()
        logits, truth, _ = self._parts[0]
        return Calibration.of(logits, truth)

    def _thin(self) -> None:
        logits, truth, keys = map(np.concatenate, zip(*self._parts, strict=True))
        kept = np.sort(keys.argpartition(self._kept)[: self._kept]) if len(keys) > self._kept else np.arange(len(keys))
        self._parts = [(logits[kept], truth[kept], keys[kept])]
