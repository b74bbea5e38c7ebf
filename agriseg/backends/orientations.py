"""Test-time augmentation: a backend that averages the logits of a batch in several orientations.

Each orientation is a flip, a quarter turn or both, undone on the logits. Tiles begin and end at multiples of the
network's step, so a logit of a turned tile covers the same pixels as one of the tile: the mean is as exact under tiling
as the network itself. See Moshkov et al. 2020, Scientific Reports 10, 5068.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from agriseg.backends.backend import Backend
from agriseg.model import SegmentationModel

_ROWS, _COLS = 2, 3
_FLOAT = 4  # bytes


@dataclass(frozen=True)
class Orientation:
    """Rows and columns exchanged or not, then rows, columns or both mirrored."""

    transposed: bool
    mirrored: tuple[int, ...]

    def of(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) to the orientation; (B, C, w, h) if transposed."""
        turned = batch.transpose(_ROWS, _COLS) if self.transposed else batch
        return turned.flip(self.mirrored).contiguous(memory_format=torch.channels_last)

    def undone(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of a turned batch in the orientation of the batch."""
        straight = logits.flip(self.mirrored)
        return straight.transpose(_ROWS, _COLS) if self.transposed else straight


_MIRRORED = ((), (_ROWS,), (_COLS,), (_ROWS, _COLS))
ORIENTATIONS = {
    "flips": tuple(Orientation(transposed=False, mirrored=each) for each in _MIRRORED),
    "d4": tuple(Orientation(transposed=turned, mirrored=each) for turned in (False, True) for each in _MIRRORED),
}
"""The four flips, and the eight symmetries of a square, which the quarter turns are among."""


class OrientedBackend:
    """A backend whose logits are the mean over orientations; the network runs once for each. See `Backend`."""

    def __init__(self, inner: Backend, model: SegmentationModel, name: str) -> None:
        self._inner = inner
        self._model = model
        self._orientations: Sequence[Orientation] = ORIENTATIONS[name]
        self.device = inner.device
        self.device_name = inner.device_name
        self.precision = f"{inner.precision}, mean of {len(self._orientations)} orientations"

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """See `Backend`. The sum is in fp32, always in the same order."""
        first, *others = self._orientations
        total = first.undone(self._inner.logits(first.of(batch)))
        for each in others:
            total = total + each.undone(self._inner.logits(each.of(batch)))
        return total / len(self._orientations)

    def memory_per_pixel(self) -> float:
        """See `Backend`; the orientations run one after another, beside a turned batch and two sums of logits."""
        sums = 2 * len(self._model.legend) / self._model.stride**2
        return self._inner.memory_per_pixel() + _FLOAT * (len(self._model.bands) + sums)
