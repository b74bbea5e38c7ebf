"""Training samples: a chip around a pixel, randomly rotated, scaled, mirrored and changed in brightness."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional

from agriseg.labels.scene import Scene
from agriseg.legend import NODATA
from agriseg.networks.normalization import Normalization
from agriseg.samples.sampling import ClassIndex, PixelPosition, sample_pixel

Sample = tuple[torch.Tensor, torch.Tensor]


class Augmentation(BaseModel):
    """Strength of the augmentation; 0 or false turns a part off.

    Args:
        mirror: swap left and right in half of the samples.
        rotate: by quarter turns, which need no interpolation, or by any angle.
        zoom: largest factor of scale, up or down; 1 for none.
        brightness: standard deviation of one gain and offset for all bands.
        channel_jitter: standard deviation of the gain and offset of each band.
        blur: largest standard deviation of a Gaussian blur, px; half of the samples are blurred.
        noise: largest standard deviation of added noise, in standard deviations of the training data.
        nodata_edge: share of samples that have no data beyond a random line, as at the edge of an orthomosaic.
        copy_paste: share of samples onto which the rarest class's pixels of another sample are pasted (Ghiasi et al.
            2021, arXiv 2012.07177).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mirror: bool = True
    rotate: Literal["quarter", "any", "none"] = "quarter"
    zoom: float = Field(default=1.25, ge=1, le=4)
    brightness: float = Field(default=0.15, ge=0, le=1)
    channel_jitter: float = Field(default=0.05, ge=0, le=1)
    blur: float = Field(default=0.0, ge=0, le=8)
    noise: float = Field(default=0.0, ge=0, le=1)
    nodata_edge: float = Field(default=0.0, ge=0, le=1)
    copy_paste: float = Field(default=0.0, ge=0, le=1)


@dataclass(frozen=True)
class TrainingSamples:
    """Training samples by number, `side` px of the raster wide and high.

    Each scene has its normalization. A pixel of a sample is the mean of `reduce` x `reduce` pixels, with the label in
    their middle.
    """

    scenes: Sequence[Scene]
    class_index: ClassIndex
    normalizations: Sequence[Normalization]
    side: int
    rare_class_share: float
    augmentation: Augmentation
    seed: int
    reduce: int = 1

    def __getitem__(self, number: int) -> Sample:
        """Sample `number`: float32 (C, n, n) and uint8 (n, n), 255 unknown; n is `side / reduce`."""
        rng = np.random.default_rng([self.seed, number])
        x, ids = self._cut(sample_pixel(self.class_index, self.rare_class_share, rng), rng)
        if rng.random() < self.augmentation.copy_paste:
            rarest = self.class_index.rarest
            other, other_ids = self._cut(self.class_index.draw(rarest, rng), rng)
            pasted = other_ids == rarest
            x, ids = torch.where(pasted, other, x), torch.where(pasted, other_ids, ids)
        for changed in (_brightened, _blurred, _noisy):
            x = changed(x, self.augmentation, rng)
        if rng.random() < self.augmentation.nodata_edge:
            empty = _beyond_a_line(ids.shape[0], rng)
            x, ids = x.masked_fill(empty, 0.0), ids.masked_fill(empty, NODATA)
        return x, ids

    def _cut(self, place: PixelPosition, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Image (C, n, n) and ids uint8 (n, n) around a pixel, rotated and scaled."""
        scene, (row, col) = self.scenes[place[0]], place[1:]
        geometry = _Geometry.draw(self.augmentation, rng)
        reach = geometry.reach(self.side)
        down, across = rng.integers(-(self.side // 4), self.side // 4 + 1, 2).tolist()
        top = _inside(row + down - reach // 2, reach, scene.source.height)
        left = _inside(col + across - reach // 2, reach, scene.source.width)
        chip = scene.read(top, left, reach, reach)
        x = self.normalizations[place[0]](torch.from_numpy(chip.pixels), torch.from_numpy(chip.valid))
        return geometry(*_means(x, torch.from_numpy(chip.ids), self.reduce), self.side // self.reduce)


def stacked(samples: Sequence[Sample]) -> Sample:
    """Samples as one batch (N, C, side, side), channels last, and its ids (N, side, side) int64."""
    shape = (len(samples), *samples[0][0].shape)
    images = torch.empty(shape, memory_format=torch.channels_last)
    for image, (sample, _) in zip(images, samples, strict=True):
        image.copy_(sample)
    return images, torch.stack([ids for _, ids in samples]).long()


@dataclass(frozen=True)
class _Geometry:
    """Quarter turns, a rotation on top (radians), a scale (source px per sample px), and whether to mirror."""

    quarters: int
    angle: float
    scale: float
    mirrored: bool

    @classmethod
    def draw(cls, how: Augmentation, rng: np.random.Generator) -> "_Geometry":
        quarters = 0 if how.rotate == "none" else int(rng.integers(4))
        angle = rng.uniform(-math.pi / 4, math.pi / 4) if how.rotate == "any" else 0.0
        scale = how.zoom ** rng.uniform(-1, 1)
        return cls(quarters, angle, scale, bool(how.mirror and rng.random() < 0.5))

    def reach(self, side: int) -> int:
        """Side of the source window that covers a sample (px)."""
        span = side * self.scale * (abs(math.cos(self.angle)) + abs(math.sin(self.angle)))
        return math.ceil(span - 1e-6) if self.angle else round(span)

    def __call__(self, x: torch.Tensor, ids: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture (C, r, r) and ids uint8 (r, r) to (C, side, side) bilinear and (side, side) nearest."""
        x, ids = self._rotated(x, ids, side) if self.angle else _resized(x, ids, side)
        x, ids = torch.rot90(x, self.quarters, (1, 2)), torch.rot90(ids, self.quarters, (0, 1))
        return (x.flip(2), ids.flip(1)) if self.mirrored else (x, ids)

    def _rotated(self, x: torch.Tensor, ids: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
        factor = side * self.scale / x.shape[1]
        cos, sin = factor * math.cos(self.angle), factor * math.sin(self.angle)
        theta = torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]])
        grid = functional.affine_grid(theta, [1, 1, side, side], align_corners=False)
        turned = functional.grid_sample(x[None], grid, mode="bilinear", align_corners=False)[0]
        inverse = (NODATA - ids.float())[None, None]  # grid_sample fills with 0, which becomes 255
        sampled = functional.grid_sample(inverse, grid, mode="nearest", align_corners=False)[0, 0]
        return turned, (NODATA - sampled.round()).to(torch.uint8)


def _means(x: torch.Tensor, ids: torch.Tensor, factor: int) -> Sample:
    """Means of `factor` x `factor` pixels, with the label in the middle of each; incomplete ones are dropped."""
    if factor == 1:
        return x, ids
    middle, (rows, cols) = factor // 2, (side // factor for side in ids.shape)
    return functional.avg_pool2d(x, factor), ids[middle::factor, middle::factor][:rows, :cols]


def _resized(x: torch.Tensor, ids: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A window resized to a sample of `side`; with the channels last, this takes half the time."""
    if x.shape[1] == side:
        return x, ids
    last = x[None].contiguous(memory_format=torch.channels_last)
    smooth = functional.interpolate(last, size=(side, side), mode="bilinear", align_corners=False)[0]
    return smooth, functional.interpolate(ids[None, None], size=(side, side), mode="nearest-exact")[0, 0]


def _brightened(x: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Random gain and offset, in standard deviations of the training data: one for all bands, and one for each."""
    bands = (len(x), 1, 1)
    gain = 1 + how.brightness * rng.standard_normal() + how.channel_jitter * rng.standard_normal(bands)
    offset = how.brightness * rng.standard_normal() + how.channel_jitter * rng.standard_normal(bands)
    return x * torch.from_numpy(gain).float() + torch.from_numpy(offset).float()


def _blurred(x: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """The picture out of focus, in half of the samples."""
    if not how.blur or rng.random() < 0.5:
        return x
    sigma = rng.uniform(0, how.blur)
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    weights = (weights / weights.sum()).expand(len(x), 1, 1, -1)
    padded = functional.pad(x[None], (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, weights, groups=len(x))
    return functional.conv2d(rows, weights.transpose(2, 3), groups=len(x))[0]


def _noisy(x: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """The picture with the noise of a sensor."""
    if not how.noise:
        return x
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    return x + rng.uniform(0, how.noise) * torch.from_numpy(noise)


def _beyond_a_line(side: int, rng: np.random.Generator) -> torch.Tensor:
    """Mask (side, side) of what lies beyond a random line through the picture."""
    angle = rng.uniform(0, 2 * math.pi)
    row, col = rng.uniform(0, side, 2)
    rows, cols = torch.arange(side)[:, None] - row, torch.arange(side) - col
    return torch.gt(rows * math.sin(angle) + cols * math.cos(angle), 0)


def _inside(start: int, length: int, size: int) -> int:
    """The start of a window, moved so that the window lies inside the raster if it is not larger."""
    return min(max(start, 0), size - length) if length <= size else start
