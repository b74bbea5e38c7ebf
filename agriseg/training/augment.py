"""One sample: a chip around a place, turned, scaled, mirrored and lit at random, ready for the network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional

from agriseg.legend import NODATA
from agriseg.normalize import Normalization
from agriseg.training.sampling import Census, Place, draw_place, draw_rarest
from agriseg.training.scenes import Scene


class Augmentation(BaseModel):
    """How much samples vary; 0 or false leaves them alone.

    Args:
        mirror: left and right swapped in half of them.
        rotate: by quarter turns, which move pixels and change none; or by any angle. A field has no up.
        zoom: largest factor of scale, up or down; 1 leaves it.
        light: deviation of a common gain and offset.
        colour: deviation of each band's own gain and offset.
        paste: share of samples onto which the rarest class's pixels of another sample are pasted (Ghiasi et al. 2021,
            arXiv 2012.07177).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mirror: bool = True
    rotate: Literal["quarter", "any", "none"] = "quarter"
    zoom: float = Field(default=1.25, ge=1, le=4)
    light: float = Field(default=0.15, ge=0, le=1)
    colour: float = Field(default=0.05, ge=0, le=1)
    paste: float = Field(default=0.0, ge=0, le=1)


@dataclass(frozen=True)
class Samples:
    """Training samples by number.

    Args:
        scenes: where they come from.
        census: of the scenes' labels.
        normalization: the model's.
        side: of a sample (px).
        rare: see `draw_place`.
        augmentation: how they vary.
        seed: of everything random.
    """

    scenes: Sequence[Scene]
    census: Census
    normalization: Normalization
    side: int
    rare: float
    augmentation: Augmentation
    seed: int

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample `number`: float32 (C, side, side) and int64 (side, side), 255 unknown."""
        rng = np.random.default_rng([self.seed, number])
        x, ids = self._cut(draw_place(self.census, self.rare, rng), rng)
        if rng.random() < self.augmentation.paste:
            other, other_ids = self._cut(draw_rarest(self.census, rng), rng)
            pasted = other_ids == self.census.rarest
            x, ids = torch.where(pasted, other, x), torch.where(pasted, other_ids, ids)
        return _lit(x, self.augmentation, rng), ids.long()

    def _cut(self, place: Place, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture (C, side, side) and ids (side, side) around a place, turned."""
        scene, row, col = place
        turn = _Turn.draw(self.augmentation, rng)
        reach = turn.reach(self.side)
        jitter = rng.integers(-(self.side // 4), self.side // 4 + 1, 2)
        whole = self.scenes[scene].source
        top = _inside(row + int(jitter[0]) - reach // 2, reach, whole.height)
        left = _inside(col + int(jitter[1]) - reach // 2, reach, whole.width)
        chip = self.scenes[scene].read(top, left, reach, reach)
        x = self.normalization(torch.from_numpy(chip.pixels), torch.from_numpy(chip.valid))
        return turn(x, torch.from_numpy(chip.ids), self.side)

    def batch(self, first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples `first` to `first + count`, stacked; channels last."""
        pictures, ids = zip(*(self[number] for number in range(first, first + count)), strict=True)
        return torch.stack(pictures).contiguous(memory_format=torch.channels_last), torch.stack(ids)


@dataclass(frozen=True)
class _Turn:
    """A rotation (radians), a scale (source px per sample px), and whether to mirror."""

    angle: float
    scale: float
    mirrored: bool

    @classmethod
    def draw(cls, how: Augmentation, rng: np.random.Generator) -> "_Turn":
        angle = {"none": 0.0, "quarter": int(rng.integers(4)) * math.pi / 2, "any": rng.uniform(0, 2 * math.pi)}
        scale = how.zoom ** rng.uniform(-1, 1)
        return cls(angle[how.rotate], scale, bool(how.mirror and rng.random() < 0.5))

    def reach(self, side: int) -> int:
        """Side of the source window that covers a sample (px)."""
        span = side * self.scale * (abs(math.cos(self.angle)) + abs(math.sin(self.angle)))
        return math.ceil(span - 1e-6)

    def __call__(self, x: torch.Tensor, ids: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture (C, r, r) and ids (r, r) to (C, side, side) bilinear and (side, side) nearest."""
        factor = side * self.scale / x.shape[1]
        cos, sin = factor * math.cos(self.angle), factor * math.sin(self.angle)
        flip = -1.0 if self.mirrored else 1.0
        theta = torch.tensor([[[flip * cos, -sin, 0.0], [flip * sin, cos, 0.0]]])
        grid = functional.affine_grid(theta, [1, 1, side, side], align_corners=False)
        turned = functional.grid_sample(x[None], grid, mode="bilinear", align_corners=False)[0]
        known = (NODATA - ids.float())[None, None]  # beyond the window is 0, which is then 255
        found = functional.grid_sample(known, grid, mode="nearest", align_corners=False)[0, 0]
        return turned, NODATA - found.round()


def _lit(x: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Gain and offset in deviations of the training data: one for all bands, and one for each."""
    bands = (len(x), 1, 1)
    gain = 1 + how.light * rng.standard_normal() + how.colour * rng.standard_normal(bands)
    offset = how.light * rng.standard_normal() + how.colour * rng.standard_normal(bands)
    return x * torch.from_numpy(gain).float() + torch.from_numpy(offset).float()


def _inside(start: int, length: int, size: int) -> int:
    """The start moved so that the window stays inside, where there is room."""
    return min(max(start, 0), size - length) if length <= size else start
