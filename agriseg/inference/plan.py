"""What a run will do, decided before the first pixel is read: tiles, batch, memory."""

from dataclasses import astuple, dataclass, replace

from agriseg.backends.backend import Backend
from agriseg.errors import GridError, UsageError
from agriseg.grid import PRESETS, Axis, TileGrid, Tiling, Window
from agriseg.model import SegmentationModel
from agriseg.networks import downsampling_factor
from agriseg.options.run import RunOptions
from agriseg.raster.reader import Source
from agriseg.run_layers import run_layers
from agriseg.units import human_bytes

_TILE = 512  # side in pixels of the network; a network that takes means gets so many times as much of the raster
_ONE_TILE = 1024  # up to this side a raster is one tile: four of `_TILE` would compute up to 2.5 times as much
_EXACT_CORE = 1024
_FIXED_BYTES = 96 * 2**20  # libraries that load at first use, the writers: measured, benchmarks/memory.py
_GPU_BATCH = 8
_PACKED = 50  # no layer of a real field has become smaller than a fiftieth
AHEAD = 2
"""Bands that may be read before the network gets to them."""


@dataclass(frozen=True)
class TileRowGroup:
    """Consecutive tile rows: the unit of work.

    Args:
        tiles: rows of the grid to run.
        rows: raster rows that they decide, half-open.
        recomputed_rows: how many of the first tile rows belong to bands above and are only there to be added again.
        without_carry: whether it starts without the sums of the band above.
    """

    tiles: range
    rows: tuple[int, int]
    recomputed_rows: int = 0
    without_carry: bool = False


@dataclass(frozen=True)
class Memory:
    """Bytes a run takes above the program and the weights; none depends on the raster's height."""

    strips: int
    blending: int
    network: int
    deciding: int
    fixed: int

    @property
    def total(self) -> int:
        """The sum."""
        return sum(astuple(self))


@dataclass(frozen=True)
class Plan:
    """How a raster is cut and run.

    Args:
        grid: tiles over the whole raster, whatever part of it is mapped.
        roi: the window that is mapped, in the working grid.
        batch: tiles per forward.
        band_rows: tile rows per task.
        layers: number of bands of each output layer.
        exact: whether the margin covers what the network sees, so that tiled equals untiled.
    """

    grid: TileGrid
    roi: Window
    batch: int
    band_rows: int
    layers: dict[str, int]
    memory: Memory
    exact: bool

    @property
    def tile_rows(self) -> range:
        """Rows of the grid that the mapped window needs."""
        return self.grid.rows.tiles(self.roi.row_off, self.roi.row_stop)

    @property
    def tile_cols(self) -> range:
        """Columns of the grid that the mapped window needs."""
        return self.grid.cols.tiles(self.roi.col_off, self.roi.col_stop)

    @property
    def tiles(self) -> int:
        """Tiles to run if none is skipped."""
        return len(self.tile_rows) * len(self.tile_cols)

    def row_stop(self, row: int) -> int:
        """First raster row that the tile rows up to `row` do not decide."""
        return _stop(self.grid.rows, row, self.tile_rows, self.roi.row_stop)

    def col_stop(self, col: int) -> int:
        """First raster column that the tile columns up to `col` do not decide."""
        return _stop(self.grid.cols, col, self.tile_cols, self.roi.col_stop)

    @property
    def block_rows(self) -> int:
        """Rows of a block of the store: the distance between the cuts of the tile rows."""
        return min(self.grid.rows.step, self.roi.height + self.block_offset)

    @property
    def block_offset(self) -> int:
        """Rows by which the first block boundary of the store lies before the mapped window."""
        return (self.roi.row_off + self.grid.rows.block_offset) % self.grid.rows.step

    def least_disk(self, classes: int) -> int:
        """Bytes that the run takes on disk at least: logits of the running tile rows, and well compressed layers."""
        rows, cols = self.grid.rows, self.grid.cols
        logits = 4 * classes * (rows.length // rows.stride) * (cols.length // cols.stride)
        running = min(self.band_rows + 1, len(self.tile_rows)) * len(self.tile_cols) * logits
        return running + sum(self.layers.values()) * self.roi.width * self.roi.height // _PACKED

    def bands(self) -> list[TileRowGroup]:
        """All bands from top to bottom; each tile row and each mapped row is in one of them."""
        bands, done = [], self.roi.row_off
        for start in self.tile_rows[:: self.band_rows]:
            tiles = range(start, min(start + self.band_rows, self.tile_rows.stop))
            stop = max(done, self.row_stop(tiles.stop - 1))
            bands.append(TileRowGroup(tiles, (done, stop)))
            done = stop
        return bands

    def without_carry(self, band: TileRowGroup) -> TileRowGroup:
        """The band for a start without the sums of the band above: with all tile rows that have weight in it."""
        row, start, stop = min(band.rows[0], self.roi.row_stop - 1), band.tiles.start, band.tiles.stop
        first = max(min(start, self.grid.rows.tiles(row, row + 1).start), self.tile_rows.start)
        return TileRowGroup(range(first, stop), band.rows, recomputed_rows=start - first, without_carry=True)

    def read_window(self, band: TileRowGroup) -> Window:
        """What a band reads: its tiles, and half a cell around them, where pixels still depend on their cells."""
        top, bottom = _covered(self.grid.rows, band.tiles)
        left, right = _covered(self.grid.cols, self.tile_cols)
        return Window(left, top, right - left, bottom - top)


def make_plan(source: Source, model: SegmentationModel, options: RunOptions, roi: Window, backend: Backend) -> Plan:
    """Choose what the user left open, and fit it into the memory allowed; `auto` is open as well.

    Raises:
        GridError: tile, overlap and margin contradict each other or the network.
        UsageError: the run does not fit into `max_memory`, with what would.
    """
    batch = largest_batch(options, backend)
    pixel_bytes = backend.memory_per_pixel()
    plan = plan_tiles(source, model, options, roi, pixel_bytes, batch)
    if options.max_memory is None or plan.memory.total <= options.max_memory:
        return plan
    if options.batch is None and batch > 1:
        plan = plan_tiles(source, model, options, roi, pixel_bytes, 1)
    while plan.memory.total > options.max_memory:
        tile = plan.grid.rows.tile
        half = max(model.step, tile // 2 // model.step * model.step)
        if options.tile_px is not None or half == tile:
            raise UsageError(_does_not_fit(plan, options.max_memory))
        try:
            plan = plan_tiles(source, model, replace(options, tile=half), roi, pixel_bytes, plan.batch)
        except GridError as error:
            raise UsageError(_does_not_fit(plan, options.max_memory)) from error
    return plan


def choose_tiling(model: SegmentationModel, options: RunOptions, longest: int) -> Tiling:
    """Tile, overlap and margin, from the options and their preset.

    A tile that covers the longer side of the raster (`longest`, px) needs no overlap.

    Raises:
        GridError: the exact preset with a network that sees the whole input, or with a tile that is too small.
    """
    preset, align = PRESETS[options.blend], model.step
    if preset.exact and model.halo is None:
        raise GridError(f"model {model.name!r} sees the whole image, so no tiling is exact; use --blend smooth")
    sight = _up(model.halo or 0, model.stride)  # receptive half-width (px)
    overlap = given = options.overlap_given
    if overlap is None and preset.exact:
        overlap = _up(2 * sight, align)
    tile = options.tile_px or _default_tile(model, overlap, longest, may_cover=given is None)
    if overlap is None:
        overlap = preset.overlap_share
    if isinstance(overlap, float) and overlap < 1:
        overlap = int(tile * overlap) // align * align
    overlap = int(overlap)
    if given is None and options.margin is None and tile >= _up(longest, align):
        return Tiling(tile, 0, 0, model.stride, align)
    if preset.exact and options.tile_px is not None and 2 * overlap > tile:
        raise GridError(
            f"tile {tile} is too small for an exact map: the network sees {sight} px around a pixel; "
            f"use --tile {2 * overlap} or more"
        )
    margin = options.margin
    if margin is None:
        largest = int(overlap * preset.margin_share)
        margin = largest if model.halo is None or preset.exact else min(sight, largest)
        margin = margin // model.stride * model.stride
    return Tiling(tile, overlap, margin, model.stride, align)


def _default_tile(model: SegmentationModel, overlap: int | float | None, longest: int, *, may_cover: bool) -> int:
    """Side of a tile (px): wider for a wide overlap, and for a small raster as wide as the raster if it may be."""
    side, whole = (downsampling_factor(model.network) * each for each in (_TILE, _ONE_TILE))
    is_wide = isinstance(overlap, int) and overlap > side // 2
    tile = _up(int(overlap or 0) + _EXACT_CORE if is_wide else side, model.step)
    return _up(longest, model.step) if may_cover and tile < longest <= whole else tile


def largest_batch(options: RunOptions, backend: Backend) -> int:
    """Tiles per forward at most.

    On a CPU a batch gains nothing (measured: benchmarks/engine_cost.py --batch), and oneDNN adds in another order for
    some batch sizes: one tile at a time keeps the bytes the same.
    """
    return 1 if backend.device.type == "cpu" else options.batch or _GPU_BATCH


def plan_tiles(
    source: Source, model: SegmentationModel, options: RunOptions, roi: Window, pixel_bytes: float, batch: int
) -> Plan:
    """The plan for these options, whatever memory it takes.

    Args:
        pixel_bytes: that the network takes per input pixel.
        batch: tiles per forward, at most.

    Raises:
        GridError: as `make_plan`.
    """
    tiling = choose_tiling(model, options, max(source.height, source.width))
    grid = TileGrid.over(source.height, source.width, tiling)
    published = run_layers(probabilities=options.probabilities)
    layers = {layer.name: len(layer.band_names(model.legend)) for layer in published}
    exact = len(grid) == 1 or (model.halo is not None and tiling.margin >= model.halo)
    batch = min(batch, len(grid.cols))
    unsized = Plan(grid, roi, batch, options.band_rows, layers, Memory(0, 0, 0, 0, 0), exact)
    return replace(unsized, memory=_memory(unsized, source, len(model.legend), len(model.bands), pixel_bytes))


def _memory(plan: Plan, source: Source, classes: int, bands: int, pixel_bytes: float) -> Memory:
    """The formula: every term is a product of widths, tile sides, bands and classes."""
    rows, cols = plan.grid.rows, plan.grid.cols
    strip = plan.read_window(plan.bands()[0])
    # pixels as read and as picked, and validity; those read ahead, the one at work
    strips = (AHEAD + 1) * strip.width * strip.height * (2 * bands * source.item_bytes + 1)
    # the accumulator of a tile, old and new, and the carries from above and to below; float32
    high, wide = ((axis.length + axis.overlap) // axis.stride + 2 for axis in (rows, cols))
    carried = rows.overlap // rows.stride + 2
    blending = 4 * classes * 2 * (high * wide + carried * (strip.width // cols.stride + 2))
    network = int(plan.batch * rows.length * cols.length * (8 * bands + 4 * classes + pixel_bytes))
    core = min(rows.length, rows.step + 2 * rows.stride) * min(cols.length, cols.step + 2 * cols.stride)
    rows_out = min(plan.band_rows * rows.step + rows.overlap, rows.size)
    deciding = core * 4 * (2 * classes + 6) + (AHEAD + 1) * sum(plan.layers.values()) * rows_out * plan.roi.width
    fixed = _FIXED_BYTES + source.info.cache_bytes
    return Memory(strips, blending, network, deciding, fixed)


def _stop(axis: Axis, index: int, tiles: range, roi_stop: int) -> int:
    """First pixel that the tiles up to `index` do not decide; the last of them decides the window to its end.

    Where that end lies in the margin of the next tile, no tile but this one has weight there.
    """
    return roi_stop if index + 1 == tiles.stop else min(axis.first_undecided(index + 1), roi_stop)


def _covered(axis: Axis, tiles: range) -> tuple[int, int]:
    """Raster pixels under some tiles of an axis and half a cell around them."""
    half = axis.stride // 2
    return (
        max(0, axis.origin(tiles.start) - half),
        min(axis.size, axis.origin(tiles.stop - 1) + axis.length + half),
    )


def _does_not_fit(plan: Plan, allowed: int) -> str:
    return (
        f"--max-memory {human_bytes(allowed)}: tiles of {plan.grid.rows.tile} px in batches of {plan.batch} need "
        f"{human_bytes(plan.memory.total)}; allow that much, or give a smaller --tile or --batch"
    )


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
