"""How sure a model may be: the temperature that its logits are best divided by, from labelled pixels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.inference.predict import LogitsObserver, Span
from agriseg.labels.raster import LabelRaster
from agriseg.legend import NODATA
from agriseg.metrics import calibration_error, fit_temperature, softmax_confidence

_PIXELS = 400_000  # at most so many are kept
_PRIOR = 1000  # pixels of which the model's own confidence is believed, as if they had been seen
_LEVELS = 1000  # of confidence, for the error


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature.

    Args:
        temperature: divides the logits; the fewer pixels there were, the nearer to 1.
        error: expected calibration error with it, over the pixels it was fitted on.
        pixels: how many.
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
        """What to say where the pixels are too few to change much."""
        if self.pixels >= _PRIOR:
            return None
        return (
            f"confidence is calibrated on {self.pixels} labelled pixels alone, fewer than {_PRIOR:,}: it is not proven"
        )


class CalibrationSampler:
    """Keeps the logits of labelled pixels while maps are made: all of them, or as many as fit, drawn at random.

    Each pixel gets a random key, and those with the lowest are kept. So what is kept does not depend on how much
    ground around the labels nobody labelled.

    Args:
        kept: at most so many pixels.
    """

    def __init__(self, kept: int = _PIXELS) -> None:
        self._kept = kept
        self._logits: list[NDArray[np.float32]] = []
        self._truth: list[NDArray[np.uint8]] = []
        self._keys: list[NDArray[np.float64]] = []
        self._rasters = 0

    def of(self, labels: LabelRaster) -> LogitsObserver:
        """What a sweep over the raster of these labels is to show its logits."""
        self._rasters += 1
        raster = self._rasters

        def watch(logits: torch.Tensor, known: torch.Tensor, rows: Span, cols: Span) -> None:
            ids = labels.read(Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0]))
            taken = (ids != NODATA) & known.cpu().numpy()
            if not taken.any():
                return
            self._logits.append(logits.permute(1, 2, 0).cpu().numpy()[taken].astype(np.float32))
            self._truth.append(ids[taken])
            self._keys.append(np.random.default_rng([raster, *rows, *cols]).random(ids.shape)[taken])
            if sum(map(len, self._keys)) > 2 * self._kept:
                self._thin()

        return watch

    def calibration(self) -> Calibration | None:
        """What the kept pixels say; None without one."""
        if not self._keys:
            return None
        self._thin()
        return Calibration.of(self._logits[0], self._truth[0])

    def _thin(self) -> None:
        """Keep the pixels with the lowest keys."""
        keys = np.concatenate(self._keys)
        kept = np.sort(keys.argpartition(self._kept)[: self._kept]) if len(keys) > self._kept else np.arange(len(keys))
        self._keys = [keys[kept]]
        self._logits, self._truth = [np.concatenate(self._logits)[kept]], [np.concatenate(self._truth)[kept]]
