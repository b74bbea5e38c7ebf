"""The stitcher alone, over random plain arrays, against the reference: no network, no raster, no file."""

import numpy as np
import pytest
import torch
from reference import Tiling, blended

from agriseg.grid import Axis, TileGrid, Window
from agriseg.inference.plan import Memory, Plan
from agriseg.inference.stitch import StitchedRow, Stitcher

CLASSES = 3


class Cells(torch.nn.Module):
    """Every stride-th pixel of its first bands: logits that show where a tile lies."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, :: self.stride, :: self.stride]


def drawn(rng: np.random.Generator) -> tuple[Tiling, tuple[int, int], Window]:
    """A tiling, a raster's height and width, and a mapped window in it."""
    stride = int(rng.choice([1, 2, 8]))
    align = stride * int(rng.choice([1, 2]))
    tile = align * int(rng.integers(2, 7))
    overlap = align * int(rng.integers(0, tile // align // 2 + 1))
    margin = stride * int(rng.integers(0, overlap // stride // 2 + 1))
    height, width = (int(side) for side in rng.integers(1, 5 * tile, 2))
    left, top = int(rng.integers(width)), int(rng.integers(height))
    window = Window(left, top, int(rng.integers(1, width - left + 1)), int(rng.integers(1, height - top + 1)))
    return Tiling(tile, overlap, margin, stride, align), (height, width), window


@pytest.mark.parametrize("seed", range(60))
def test_tiles_in_any_tiling_blend_as_in_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cut, (height, width), window = drawn(rng)
    pixels = rng.standard_normal((CLASSES, height, width)).astype(np.float32)
    expected = blended(Cells(cut.stride), pixels, np.ones((height, width), bool), cut).logits

    axes = (Axis(side, cut.tile, cut.overlap, cut.margin, cut.stride, cut.align) for side in (height, width))
    grid, whole = TileGrid(*axes), Window(0, 0, width, height)
    plan = Plan(grid, window, 1, 1, {}, Memory(0, 0, 0, 0, 0), exact=False)
    padded = torch.zeros(CLASSES, grid.rows.padded, grid.cols.padded)
    padded[:, :height, :width] = torch.from_numpy(pixels)
    blend = torch.full((CLASSES, height, width), torch.nan)
    stitcher, carry, start = Stitcher(plan, CLASSES, torch.device("cpu")), None, window.row_off
    for row in plan.tile_rows:
        stitched = StitchedRow(stitcher, row, start, carry)
        for col in plan.tile_cols:
            tile = grid[row, col]
            down, across = tile.window.within(whole)
            final = stitched.add(tile, padded[:, down, across][:, :: cut.stride, :: cut.stride])
            if final:
                part = (slice(None), *final.within(whole))
                assert blend[part].isnan().all(), "no pixel is final twice"
                blend[part] = stitched.pixels(final)
        carry, start = stitched.carry, max(start, plan.row_stop(row))
    mapped = (slice(None), *window.within(whole))
    torch.testing.assert_close(blend[mapped], expected[mapped], rtol=0, atol=1e-6)
    blend[mapped] = torch.nan
    assert blend.isnan().all(), "no pixel outside the mapped window is final"
    assert carry is None
