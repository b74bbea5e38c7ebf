"""How sure a model may be: the temperature that its logits are best divided by, from labelled pixels."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.engine.sweep import Span, Watch
from agriseg.grid import Window
from agriseg.legend import NODATA
from agriseg.metrics import calibration_error, fit_temperature, softmax_confidence
from agriseg.training.labels import Labels

_PIXELS = 400_000  # about as many are kept
_LEVELS = 1000  # of confidence, for the error


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature.

    Args:
        temperature: divides the logits.
        error: expected calibration error with it, over the pixels it was fitted on.
        pixels: how many.
    """

    temperature: float
    error: float
    pixels: int


@dataclass
class Witness:
    """Keeps the logits of some labelled pixels while maps are made.

    Args:
        pixels: of all rasters that will be mapped; decides which share is kept.
    """

    pixels: int
    _logits: list[NDArray[np.float32]] = field(default_factory=list)
    _truth: list[NDArray[np.uint8]] = field(default_factory=list)

    def of(self, labels: Labels) -> Watch:
        """What a sweep over the raster of these labels is to show its logits."""

        def watch(logits: torch.Tensor, known: torch.Tensor, rows: Span, cols: Span) -> None:
            ids = labels.read(Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0]))
            drawn = np.random.default_rng([*rows, *cols]).random(ids.shape) < _PIXELS / self.pixels
            taken = (ids != NODATA) & drawn & known.cpu().numpy()
            self._logits.append(logits.permute(1, 2, 0).cpu().numpy()[taken].astype(np.float32))
            self._truth.append(ids[taken])

        return watch

    def calibration(self) -> Calibration | None:
        """What the kept pixels say; None without one."""
        logits, truth = np.concatenate(self._logits), np.concatenate(self._truth)
        if not len(truth):
            return None
        temperature = fit_temperature(logits, truth)
        level = np.rint(softmax_confidence(logits, temperature) * _LEVELS).astype(int)
        pixels = np.bincount(level, minlength=_LEVELS + 1)
        hits = np.bincount(level[logits.argmax(1) == truth], minlength=_LEVELS + 1)
        return Calibration(temperature, calibration_error(pixels, hits), len(truth))
