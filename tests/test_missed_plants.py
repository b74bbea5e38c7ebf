"""What a prescription misses, against a count by hand of each plant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from agriseg.prescription.measured.missed import Floor, PlantsInCells

SIDE = 7  # px of a cell


def _field(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
    """Plants, the cell of each pixel, and the ground of the cells; some pixels are in no cell."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 60, 2)
    plants = ndimage.binary_dilation(rng.random((height, width)) < 0.02, iterations=int(rng.integers(0, 3)))
    across = -(-width // SIDE)
    cell = (np.arange(height)[:, None] // SIDE * across + np.arange(width) // SIDE).astype(np.int64)
    ground = rng.uniform(0.5, 1, cell.max() + 1) * (rng.random(cell.max() + 1) < 0.9)
    cell[:, : int(rng.integers(0, 4))] = -1
    return plants, cell, ground


def _plants(seed: int) -> PlantsInCells:
    plants, cell, ground = _field(seed)
    return PlantsInCells.of(plants, lambda rows: cell[rows.start : rows.stop], ground)


@given(seed=st.integers(0, 2**32 - 1))
def test_each_plant_is_counted(seed: int) -> None:
    plants, cell, ground = _field(seed)
    treated = np.random.default_rng(seed + 1).random(ground.size) < 0.5
    sprayed = np.append(treated, False)[cell]  # -1 is the last
    numbers, count = ndimage.label(plants)
    missed = [sprayed[numbers == n].mean() < 0.5 for n in range(1, count + 1)]
    found = PlantsInCells.of(plants, lambda rows: cell[rows.start : rows.stop], ground)
    assert found.missed(treated).tolist() == missed
    assert found.missed_share(treated).part == sum(missed)
    if count:
        assert found.missed_area(treated) == pytest.approx(1 - sprayed[plants].mean())
    assert found.sprayed_share(treated) == pytest.approx(ground[treated].sum() / ground.sum())


@given(seed=st.integers(0, 2**32 - 1))
def test_plants_of_two_rasters_are_those_of_both(seed: int) -> None:
    one, two = _plants(seed), _plants(seed + 1)
    treated = np.random.default_rng(seed).random(one.square_metres.size + two.square_metres.size) < 0.5
    parts = np.split(treated, [one.square_metres.size])
    both = one + two
    assert both.missed(treated).tolist() == [*one.missed(parts[0]), *two.missed(parts[1])]
    assert len(np.unique(both.block)) == len(np.unique(one.block)) + len(np.unique(two.block))


@given(seed=st.integers(0, 2**32 - 1))
def test_the_floor_is_what_its_cells_miss(seed: int) -> None:
    plants = _plants(seed)
    floor = Floor.of(plants)
    held = np.bincount(plants.cell, plants.shared / plants.pixels[plants.plant], plants.square_metres.size)
    worth = [(-h / g, cell) for cell, (h, g) in enumerate(zip(held, plants.square_metres, strict=True)) if h and g]
    treated = np.zeros(plants.square_metres.size, bool)
    for step, (_, cell) in enumerate([(0, None), *sorted(worth)]):
        if cell is not None:
            treated[cell] = True
        assert floor.sprayed[step] == pytest.approx(plants.sprayed_share(treated))
        expected = plants.missed(treated).mean() if len(plants.pixels) else 1.0
        assert floor.missed[step] == pytest.approx(expected)
    assert len(floor.missed) == len(worth) + 1


def test_no_random_choice_of_cells_beats_the_floor_by_much() -> None:
    """The order is a rule of thumb: it is near the least, and far better than chance."""
    plants = _plants(5)
    floor, rng = Floor.of(plants), np.random.default_rng(0)
    for share in rng.uniform(0.05, 0.95, 300):
        treated = (rng.random(plants.square_metres.size) < share) & (plants.square_metres > 0)
        least = floor.sprayed_at(float(plants.missed(treated).mean()))
        assert least is not None
        assert least <= plants.sprayed_share(treated) + 0.02


def test_a_share_that_no_cells_reach() -> None:
    """Plants in no cell are always missed."""
    plants = PlantsInCells.of(np.eye(4, dtype=bool), lambda rows: np.full((len(rows), 4), -1), np.ones(3))
    assert Floor.of(plants).sprayed_at(0.5) is None
    assert Floor.of(plants).sprayed_at(1.0) == 0
