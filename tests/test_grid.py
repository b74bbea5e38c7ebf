"""Laws of the grid: cover, alignment, who decides what. The integers are checked against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agriseg.blend import profile, ramp
from agriseg.errors import GridError
from agriseg.grid import Axis, TileGrid, Tiling, Window
from agriseg.inference.plan import Memory, Plan
from agriseg.inference.stitch import StitchedRow, Stitcher


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    stride = draw(st.sampled_from([1, 2, 3, 4, 8]))
    align = stride * draw(st.sampled_from([1, 2, 4]))
    tile = align * draw(st.integers(1, 12))
    overlap = align * draw(st.integers(0, tile // align // 2))
    margin = stride * draw(st.integers(0, overlap // 2 // stride))
    return Axis(draw(st.integers(1, 400)), tile, overlap, margin, stride, align)


def needed_cells(axis: Axis, pixel: int) -> set[int]:
    """Cells with weight in bilinear upsampling, by the definition that torch documents."""
    position = max(0.0, (pixel + 0.5) / axis.stride - 0.5)
    low = int(position)
    cells = {low} if position == low else {low, low + 1}
    return {min(cell, axis.padded // axis.stride - 1) for cell in cells}


@given(axes())
@settings(max_examples=300, deadline=None)
def test_tiles_cover_the_axis_and_sit_on_the_step(axis: Axis) -> None:
    covered = np.zeros(axis.padded, int)
    for k in range(len(axis)):
        start = axis.origin(k)
        assert start % axis.align == 0
        assert 0 <= start <= axis.padded - axis.length
        covered[start : start + axis.length] += 1
    assert covered.min() >= 1
    assert len({axis.origin(k) for k in range(len(axis))}) == len(axis)  # no tile twice


@given(axes())
@settings(max_examples=300, deadline=None)
def test_neighbours_share_at_least_the_overlap(axis: Axis) -> None:
    for k in range(1, len(axis)):
        assert axis.origin(k - 1) + axis.length - axis.origin(k) >= axis.overlap


@given(axes())
@settings(max_examples=300, deadline=None)
def test_weights_sum_to_one_over_at_most_two_tiles(axis: Axis) -> None:
    total = np.zeros(axis.padded // axis.stride, np.float32)
    used = np.zeros_like(total, int)
    for k in range(len(axis)):
        weights = profile(axis, k)
        assert weights.min() >= 0
        assert weights.max() <= 1
        first = axis.origin(k) // axis.stride
        total[first : first + len(weights)] += weights
        used[first : first + len(weights)] += weights > 0
        support = np.flatnonzero(weights) + first
        assert (support.min(), support.max() + 1) == tuple(edge // axis.stride for edge in axis.footprint(k))
    assert np.abs(total - 1).max() <= 2 * np.finfo(np.float32).eps
    assert used.max() <= 2


@given(axes())
@settings(max_examples=300, deadline=None)
def test_no_weight_within_the_margin_of_an_inner_edge(axis: Axis) -> None:
    cells = axis.margin // axis.stride
    for k in range(len(axis)):
        weights = profile(axis, k)
        if k > 0 and cells:
            assert not weights[:cells].any()
        if k < len(axis) - 1 and cells:
            assert not weights[len(weights) - cells :].any()


@given(axes())
@settings(max_examples=200, deadline=None)
def test_cells_are_those_that_upsampling_needs(axis: Axis) -> None:
    first, _ = axis.logit_cells(0, axis.size)
    assert first == 0
    for pixel in range(axis.size):
        low, high = axis.logit_cells(pixel, pixel + 1)
        assert needed_cells(axis, pixel) <= set(range(low, high))


@given(axes())
@settings(max_examples=200, deadline=None)
def test_before_a_cut_no_later_tile_matters(axis: Axis) -> None:
    for k in range(1, len(axis)):
        first_cell = axis.footprint(k)[0] // axis.stride
        for pixel in range(axis.first_undecided(k)):
            assert max(needed_cells(axis, pixel)) < first_cell


@given(axes(), st.data())
@settings(max_examples=200, deadline=None)
def test_tiles_are_those_with_weight_on_what_is_needed(axis: Axis, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, axis.size - 1))
    stop = data.draw(st.integers(start + 1, axis.size))
    needed = set(range(*axis.logit_cells(start, stop)))
    touching = [
        k
        for k in range(len(axis))
        if needed & set(range(axis.footprint(k)[0] // axis.stride, -(-axis.footprint(k)[1] // axis.stride)))
    ]
    assert list(axis.tiles(start, stop)) == touching


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any part of any raster, in bands of any height."""
    rows, cols = draw(axes()), draw(axes())
    roi = []
    for axis in (cols, rows):
        start = draw(st.integers(0, axis.size - 1))
        roi.append((start, draw(st.integers(1, axis.size - start))))
    window = Window(roi[0][0], roi[1][0], roi[0][1], roi[1][1])
    return Plan(TileGrid(rows, cols), window, 1, draw(st.integers(1, 4)), {}, Memory(0, 0, 0, 0, 0), False)


@given(plans())
@settings(max_examples=300, deadline=None)
def test_every_pixel_of_any_window_is_decided_once(plan: Plan) -> None:
    whole = Window(0, 0, plan.roi.col_stop, plan.roi.row_stop)
    decided, in_bands = np.zeros((plan.roi.row_stop, plan.roi.col_stop), int), np.zeros(plan.roi.row_stop, int)
    stitcher, start = Stitcher(plan, 1, torch.device("meta")), plan.roi.row_off
    for row in plan.tile_rows:
        stitched = StitchedRow(stitcher, row, start, None)
        start = max(start, plan.row_stop(row))
        for col in plan.tile_cols:
            if part := stitched.add(plan.grid[row, col], None):
                decided[part.within(whole)] += 1
                for axis, index, span in ((plan.grid.rows, row, part.row_stop), (plan.grid.cols, col, part.col_stop)):
                    assert span <= axis.origin(index) + axis.length, "beyond the tile"
    for band in plan.bands():
        in_bands[slice(*band.rows)] += 1
        again = plan.without_carry(band)
        assert (again.rows, again.tiles.stop) == (band.rows, band.tiles.stop)
    expected = np.zeros_like(decided)
    expected[plan.roi.within(whole)] = 1
    np.testing.assert_array_equal(decided, expected)
    np.testing.assert_array_equal(in_bands, expected.max(1))


def test_ramp_rises_symmetrically() -> None:
    rise = ramp(10)
    assert (np.diff(rise) > 0).all()
    np.testing.assert_allclose(rise + rise[::-1], 1, atol=1e-7)


def test_grid_is_indexable_and_a_small_raster_is_one_tile() -> None:
    grid = TileGrid.over(30, 100, Tiling(tile=64, overlap=16, margin=4))
    assert len(grid) == 2
    assert grid[0, 1].window == Window(36, 0, 64, 30)  # moved back to end with the raster
    assert [tile.col for tile in grid] == [0, 1]
    with pytest.raises(IndexError, match="outside a grid of 1 x 2"):
        grid[1, 0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tile": 500}, "tile 500 is not a multiple of 8 .* use 496 or 504"),
        ({"tile": 0}, "tile 0 is too small; use at least 8"),
        ({"overlap": 12}, "overlap 12 is not a multiple of 8 .* use 8 or 16"),
        ({"overlap": 264}, "overlap 264 is more than half of tile 512; use at most 256"),
        ({"overlap": -8}, "overlap -8 is too small"),
        ({"margin": 40}, "margin 40 is more than half of overlap 64; use at most 32"),
        ({"size": 0}, "a raster of 0 px"),
    ],
)
def test_what_is_no_grid_is_refused_with_what_would_be(arguments: dict[str, int], says: str) -> None:
    good = {"size": 1000, "tile": 512, "overlap": 64, "margin": 16, "stride": 8, "align": 8}
    Axis(**good)
    with pytest.raises(GridError, match=says):
        Axis(**{**good, **arguments})


@pytest.mark.parametrize("values", [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, 5, -1)])
def test_a_window_is_checked_at_birth(values: tuple[int, int, int, int]) -> None:
    with pytest.raises(GridError):
        Window(*values)
