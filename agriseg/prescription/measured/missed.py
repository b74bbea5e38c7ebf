"""What a prescription misses: labelled plants and the cells that they lie in, and the least that must be sprayed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agriseg.evaluation.patches import BLOCK, Share
from agriseg.maps.reader import ROWS
from agriseg.units import HECTARE

_HALF = 0.5
Cells = Callable[[range], NDArray[np.integer]]
"""Number of the cell of each pixel of some rows, (len(rows), width); negative where there is none. It is asked for
strips of `ROWS` rows."""


@dataclass(frozen=True)
class PlantsInCells:
    """Labelled plants of one raster or several. A plant is a connected region of a spot class in the labels.

    Args:
        pixels: (P,) int64 of each plant.
        block: (P,) int64 block of ground that the plant's first pixel is in; errors are alike within a block.
        plant, cell, shared: (N,) int64, a row for each plant and cell that share pixels: their numbers, and how many
            pixels they share. A plant may have pixels in no cell.
        square_metres: (C,) float64 ground of each cell; 0 where it is not in the field.
    """

    pixels: NDArray[np.int64]
    block: NDArray[np.int64]
    plant: NDArray[np.int64]
    cell: NDArray[np.int64]
    shared: NDArray[np.int64]
    square_metres: NDArray[np.float64]

    @classmethod
    def of(cls, plants: NDArray[np.bool_], cell_of: Cells, square_metres: NDArray[np.float64]) -> "PlantsInCells":
        """Plants of a raster, True (h, w) where the labels have a spot class; 4 neighbours of a pixel belong to it."""
        numbers, count = ndimage.label(plants)
        rows, cols = np.nonzero(numbers)
        plant = numbers[rows, cols].astype(np.int64) - 1
        cell = _cells_at(rows, cols, len(plants), cell_of)
        first = np.unique(plant, return_index=True)[1]
        across = -(-plants.shape[1] // BLOCK)
        inside = cell >= 0
        pairs, shared = np.unique(plant[inside] * square_metres.size + cell[inside], return_counts=True)
        return cls(
            np.bincount(plant, minlength=count), rows[first] // BLOCK * across + cols[first] // BLOCK,
            *np.divmod(pairs, square_metres.size), shared, square_metres.ravel(),
        )  # fmt: skip

    def __add__(self, other: "PlantsInCells") -> "PlantsInCells":
        """The plants of both, in blocks and cells of their own."""
        shifts = (0, self.block.max(initial=-1) + 1, len(self.pixels), len(self.square_metres), 0, 0)
        pairs = zip(vars(self).values(), vars(other).values(), shifts, strict=True)
        return PlantsInCells(*(np.concatenate([one, two + shift]) for one, two, shift in pairs))

    def missed(self, treated: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(P,) True for a plant of which less than half is in cells that are `treated` (C,)."""
        return self._pixels_in(treated) < _HALF * self.pixels

    def missed_area(self, treated: NDArray[np.bool_]) -> float | None:
        """Share of the plants' pixels in no treated cell, 0 to 1; None without a plant."""
        return 1 - float(self._pixels_in(treated).sum() / self.pixels.sum()) if len(self.pixels) else None

    def missed_share(self, treated: NDArray[np.bool_]) -> Share:
        """Share of the plants that are missed, with its 95 % interval by blocks of ground."""
        return Share.of(self.missed(treated), self.block)

    def sprayed_share(self, treated: NDArray[np.bool_]) -> float:
        """Share of the field's ground in treated cells."""
        return float(self.square_metres[treated].sum() / self.square_metres.sum())

    def _pixels_in(self, treated: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(self.plant, self.shared * treated[self.cell], len(self.pixels)).astype(np.float64)


@dataclass(frozen=True)
class Floor:
    """What perfect knowledge of the plants sprays: cells in the order of the plants that they hold for their ground.

    Args:
        sprayed: (M,) share of the field, rising from 0.
        missed: (M,) share of the plants, falling.
        hectares: of the field.
    """

    sprayed: NDArray[np.float64]
    missed: NDArray[np.float64]
    hectares: float

    @classmethod
    def of(cls, plants: PlantsInCells) -> "Floor":
        """The floor of plants in their cells. A cell counts with the share of each plant that it holds."""
        ground = plants.square_metres
        held = np.bincount(plants.cell, plants.shared / plants.pixels[plants.plant], ground.size)
        useful = np.flatnonzero((held > 0) & (ground > 0))
        order = useful[np.argsort(-held[useful] / ground[useful], kind="stable")]
        rank = np.full(ground.size, ground.size)
        rank[order] = np.arange(len(order))
        hit = np.sort(_rank_of_half(plants, rank))
        sprayed = np.concatenate([[0.0], np.cumsum(ground[order])]) / ground.sum()
        missed = 1 - np.searchsorted(hit, np.arange(len(order) + 1), side="left") / max(len(plants.pixels), 1)
        return cls(sprayed, missed, float(ground.sum()) / HECTARE)

    def sprayed_at(self, missed: float) -> float | None:
        """Smallest share of the field with which at most this share of the plants is missed; None if none has it."""
        enough = np.flatnonzero(self.missed <= missed + 1e-12)
        return float(self.sprayed[enough[0]]) if len(enough) else None


def _rank_of_half(plants: PlantsInCells, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """(P,) rank of the cell with which half of each plant is sprayed, if cells are sprayed by rank."""
    order = np.lexsort((rank[plants.cell], plants.plant))
    plant, shared, at = plants.plant[order], plants.shared[order], rank[plants.cell[order]]
    total = np.cumsum(shared)
    before = np.concatenate([[0], total])[np.searchsorted(plant, np.arange(len(plants.pixels)))]
    reached = total - before[plant] >= _HALF * plants.pixels[plant]
    found = np.full(len(plants.pixels), rank.size)
    np.minimum.at(found, plant[reached], at[reached])
    return found


def _cells_at(rows: NDArray[np.intp], cols: NDArray[np.intp], height: int, cell_of: Cells) -> NDArray[np.int64]:
    """Cells of pixels that are sorted by rows."""
    cells = np.empty(len(rows), np.int64)
    for top in range(0, height, ROWS):
        start, stop = np.searchsorted(rows, [top, top + ROWS])
        if stop > start:
            strip = cell_of(range(top, min(top + ROWS, height)))
            cells[start:stop] = strip[rows[start:stop] - top, cols[start:stop]]
    return cells
