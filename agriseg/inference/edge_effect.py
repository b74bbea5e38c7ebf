"""How the labels near a tile's edge differ from those of an untiled run, measured on some windows of a raster.

A window with all the context that the network sees gives exact logits in its middle. The same window is cut, twice
along each axis, as a tile's edges would cut it. Compared by the distance to the cut, the labels give a curve that falls
to zero within the receptive half-width. The expected disagreement of any tiling follows from this one curve: each tile
contributes the curve at the distance from its own edge, times its weight there.

Few labels change far from an edge, so changes are not only counted. A pixel whose two best logits lie within a small
distance of each other counts with the probability that the shift of its logits decides it, as if all gaps below that
distance were as frequent. Counts alone would need a hundred times as many pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.backends.backend import Backend, empty_batch
from agriseg.blend import profile
from agriseg.errors import DeviceError, PredictionError
from agriseg.grid import Axis, TileGrid, Window
from agriseg.inference.classify import upsample
from agriseg.model import SegmentationModel
from agriseg.raster.reader import PixelStrip, Reader, Source

Number = TypeVar("Number", np.float64, np.int64)
LEAST_WINDOWS = 3
"""Fewer windows say nothing of their spread."""
_MOST_WINDOWS = 24
_LEAST_HALF = 32  # px; of a network that sees less, larger windows cost nothing
_TRIES = 4  # places looked at for each window with data
_NEAR = 0.01  # share of pixels, those with the nearest logits, that count with a probability
SQUARE_STEPS = (0.7548776662466927, 0.5698402909980532)
"""Of a sequence that fills a square evenly however long it is. Source: Roberts 2018, "The Unreasonable Effectiveness of
Quasirandom Sequences": powers of 1 / 1.3247."""


@dataclass(frozen=True)
class EdgeEffect:
    """Labels unlike the exact ones, by window and distance (px) from a tile's inner edge.

    Args:
        unlike: (N, D) float64, expected number of pixels.
        compared: (N, D) int64, valid pixels.
        pixels_run: pixels that the network took.
    """

    unlike: NDArray[np.float64]
    compared: NDArray[np.int64]
    pixels_run: int

    def disagreement(self, grid: TileGrid) -> float:
        """Expected share of the labels of a map with these tiles unlike those of an untiled run."""
        return self._of(grid, np.ones(len(self.unlike), bool))

    def interval(self, grid: TileGrid) -> tuple[float, float]:
        """95 % interval of `disagreement`, by leaving out one window after the other."""
        from scipy import stats

        count = len(self.unlike)
        without = np.array([self._of(grid, np.arange(count) != each) for each in range(count)])
        error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
        reach, middle = float(stats.t.ppf(0.975, count - 1) * error), self.disagreement(grid)
        return max(0.0, middle - reach), min(1.0, middle + reach)

    def _of(self, grid: TileGrid, used: NDArray[np.bool_]) -> float:
        share = self.unlike[used].sum(0) / np.maximum(self.compared[used].sum(0), 1)
        return float(sum(edge_weights(axis, len(share)) @ share / axis.padded for axis in (grid.rows, grid.cols)))


def edge_weights(axis: Axis, depth: int) -> NDArray[np.float64]:
    """(depth,) weight that the tiles of an axis have at each distance (px) from their inner edges, all tiles together.

    >>> edge_weights(Axis(size=22, tile=8, overlap=4, margin=2), 4)
    array([0., 0., 8., 8.])
    """
    sums = np.zeros(depth)
    last = len(axis) - 1
    kinds = {0: 1, last: 1} | ({1: last - 2} if last > 2 else {}) | ({last - 1: 1} if last > 1 else {})
    for index, count in kinds.items():
        weights = np.repeat(profile(axis, index), axis.stride)
        inner = [weights] if axis.origin(index) > 0 else []
        inner += [weights[::-1]] if axis.origin(index) + axis.length < axis.padded else []
        for each in inner:
            near = each[:depth]
            sums[: len(near)] += count * near
    return sums


def half_side(model: SegmentationModel) -> int:
    """A quarter of the side of a window: all that the network sees, in whole steps (px)."""
    return -(-max(model.halo or 0, _LEAST_HALF) // model.step) * model.step


def window_work(half: int) -> int:
    """Pixels that the network takes for one window: whole, and cut along both axes."""
    return (4 * half) ** 2 * 2


def measure_edge_effect(
    source: Source, model: SegmentationModel, backend: Backend, roi: Window, windows: int
) -> EdgeEffect | None:
    """Compare up to `windows` windows with data, spread over the mapped window; None if fewer than `LEAST_WINDOWS`.

    Raises:
        DataError: a block cannot be read, and the source does not salvage.
        PredictionError: the logits hold NaN or infinity.
        DeviceError: the memory of the device does not hold a window.
    """
    half = half_side(model)
    spans = _spans(source, roi, half, model.step)
    apart = [max(0, (high - low) * model.step // (2 * half) + 1) for low, high in spans]
    windows = min(windows, _MOST_WINDOWS, apart[0] * apart[1])
    if windows < LEAST_WINDOWS or len(model.legend) < 2:
        return None
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    with Reader(source) as reader:
        for place in _places(spans, half, model.step, _TRIES * windows):
            strip = reader.read(place)
            if strip.valid[half : 3 * half, half : 3 * half].any():
                found.append(_compare(strip, model, backend, half))
            if len(found) == windows:
                break
    if len(found) < LEAST_WINDOWS:
        return None
    return _counted(found, half, len(found) * window_work(half))


def _spans(source: Source, roi: Window, half: int, step: int) -> list[tuple[int, int]]:
    """First and last place of a window along the columns and the rows, in steps.

    A window lies within the raster, and its middle in the mapped window. The last place is before the first where there
    is no room.
    """
    axes = (source.width, roi.col_off, roi.col_stop), (source.height, roi.row_off, roi.row_stop)
    return [
        (-(-max(0, start - half) // step), min(size - 4 * half, stop - 3 * half) // step) for size, start, stop in axes
    ]


def _places(spans: list[tuple[int, int]], half: int, step: int, count: int) -> Iterator[Window]:
    """Windows spread evenly."""
    for number in range(count):
        col, row = (
            (low + int((0.5 + number * part) % 1 * (high - low + 1))) * step
            for (low, high), part in zip(spans, SQUARE_STEPS, strict=True)
        )
        yield Window(col, row, 4 * half, 4 * half)


@torch.inference_mode()
def _compare(
    strip: PixelStrip, model: SegmentationModel, backend: Backend, half: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gap of the two best exact logits, and by how much a cut lowers it; both (2, 2 * half, 2 * half) float32.

    The first axis is that of the cut: along columns, along rows (transposed). A label that changes to a third class
    has lost more than the gap. The gap is NaN where a pixel is not valid.
    """
    x = empty_batch((1, len(model.bands), 4 * half, 4 * half), backend.device)
    valid = torch.from_numpy(strip.valid).to(backend.device)
    x[0] = model.normalization(torch.from_numpy(strip.pixels).to(backend.device), valid)
    inner = slice(half, 3 * half)
    exact = _logits(x, model, backend, strip.window)[:, inner, inner]
    best, places = exact.topk(2, dim=0)
    gap = (best[0] - best[1]).masked_fill(~valid[inner, inner], torch.nan)
    lost = []
    for rows, cols in ((slice(None), inner), (inner, slice(None))):
        cut = x[:, :, rows, cols].contiguous(memory_format=torch.channels_last)
        logits = _logits(cut, model, backend, strip.window)
        logits = logits[:, inner] if cols == inner else logits[:, :, inner]
        lost.append(gap - (logits.gather(0, places[:1])[0] - _others(logits, places[0])))
    return torch.stack([gap, gap.T]).cpu(), torch.stack([lost[0], lost[1].T]).cpu()


def _others(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The largest logit (h, w) of the classes that are not the label."""
    return logits.scatter(0, label[None], -torch.inf).amax(0)


def _logits(x: torch.Tensor, model: SegmentationModel, backend: Backend, window: Window) -> torch.Tensor:
    """Logits (K, h, w) at the pixels of one input."""
    try:
        logits = upsample(backend.logits(x)[0], model.stride)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{backend.device} has not enough memory to measure a tiling; give numbers to --tile and --overlap"
        ) from error
    if not torch.isfinite(logits).all():
        raise PredictionError(f"the network gives NaN or infinity in {window}; is the model damaged?")
    return logits


def _counted(found: list[tuple[torch.Tensor, torch.Tensor]], half: int, pixels_run: int) -> EdgeEffect:
    """The curve, from gaps and what the cuts took from them."""
    gaps = np.stack([gap.numpy() for gap, _ in found])
    lost = np.stack([each.numpy() for _, each in found])
    valid = np.isfinite(gaps)
    near = max(float(np.quantile(gaps[valid], _NEAR)), np.finfo(np.float32).tiny)
    chance = np.where(gaps < near, np.clip(lost / near, 0, 1), lost > gaps)
    unlike = np.where(valid, chance, 0.0).sum(axis=(1, 2), dtype=np.float64)
    compared = valid.sum(axis=(1, 2))  # over both axes of cuts, and along the cuts
    return EdgeEffect(_by_distance(unlike, half), _by_distance(compared, half), pixels_run)


def _by_distance(values: NDArray[Number], half: int) -> NDArray[Number]:
    """(N, half) of (N, 2 * half): both cuts together, by the distance to the nearer one."""
    folded: NDArray[Number] = np.add(values[:, :half], values[:, : half - 1 : -1])
    return folded
