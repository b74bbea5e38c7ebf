"""The tiles of least work for a raster, a network and a tolerance: `--tile auto` and `--overlap auto`.

The default tiles suit any network: a quarter of a tile is shared, whatever the network sees there. Measured on some
windows of the raster, the labels say how much of it they need (`agriseg.inference.edge_effect`). The choice is the
tiling with the fewest network pixels whose expected disagreement with an untiled run is allowed. It depends on the
raster, the model, the options and the bytes of the logits, and on no time: a resumed run chooses the same.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from agriseg.backends.backend import Backend
from agriseg.errors import GridError, UsageError
from agriseg.grid import PRESETS, Window
from agriseg.inference.coverage import Coverage
from agriseg.inference.edge_effect import EdgeEffect, half_side, measure_edge_effect, window_work
from agriseg.inference.plan import Plan, largest_batch, make_plan, plan_tiles
from agriseg.maps.tiling_certificate import TilingCertificate
from agriseg.model import SegmentationModel
from agriseg.networks import downsampling_factor
from agriseg.options.run import RunOptions
from agriseg.raster.reader import Source

TOLERANCE = 0.001
"""Largest share of labels unlike those of an untiled run, where the user gives none."""
_SMALLEST_TILE = 384  # px of the network; smaller tiles take longer per pixel
_LARGEST_TILE = 2048  # px of the network
_MEMORY = 10**9  # bytes of a run without --max-memory, unless the default tiles take more
_LEAST_STEP = 16  # px between the sides that are tried
_SIDES = 32  # tile sides that are tried
_PROBE_SHARE = 0.25  # of what the choice can save at most, for the measurement


def choose_plan(
    source: Source, model: SegmentationModel, options: RunOptions, roi: Window, backend: Backend
) -> tuple[Plan, TilingCertificate | None]:
    """The plan of a run. With `auto` for tile or overlap also what is known of it, None where nothing had to be chosen.

    Raises:
        GridError: as `make_plan`; or `auto` with a network that sees the whole input, whose labels no tiling keeps.
        UsageError: as `make_plan`; or a tolerance without `auto`.
        PredictionError, DeviceError: as `measure_edge_effect`.
    """
    if options.tolerance is not None and not options.has_auto:
        raise UsageError(f"--tolerance {options.tolerance:g} without tiles to choose; add --tile auto")
    default = make_plan(source, model, options, roi, backend)
    if not options.has_auto or len(default.grid) == 1:
        return default, None
    if model.halo is None:
        raise GridError(
            f"model {model.name!r} sees the whole image, so there are no exact labels to compare a tiling with; "
            "leave out --tile auto and --overlap auto, or give pixels"
        )
    choice = _Choice(source, model, options, backend, default, Coverage.look(source, roi))
    return choice.best()


@dataclass(frozen=True)
class _Choice:
    """The search; `default` is the plan without `auto`."""

    source: Source
    model: SegmentationModel
    options: RunOptions
    backend: Backend
    default: Plan
    coverage: Coverage

    def best(self) -> tuple[Plan, TilingCertificate | None]:
        """The chosen plan, and what is known of it."""
        known = self._cheapest(None) or self.default
        effect = measure_edge_effect(
            self.source, self.model, self.backend, self.default.roi, self._affordable_windows(known)
        )
        if effect is None:
            return known, self._certificate(known, None, TOLERANCE) if known.exact else None
        tolerance = self.options.tolerance
        if tolerance is None:
            tolerance = min(TOLERANCE, _disagreement(self.default, effect))
        plan = self._cheapest(effect, tolerance) or self._closest(effect)
        return plan, self._certificate(plan, effect, tolerance)

    def _affordable_windows(self, known: Plan) -> int:
        """How many windows a share of what they can save is worth, and the memory allowed holds."""
        half = half_side(self.model)
        allows_none = self.default.exact and not self.options.tolerance  # no worse than the default tiles: exact
        is_too_large = (4 * half) ** 2 * self._bytes_per_pixel > self._memory
        if not self._measures_overlap or allows_none or is_too_large:
            return 0
        bare = (self._plan(tile, 0) for tile in self._sides)
        least = min((self._work(plan) for plan in bare if plan), default=self._work(known))
        return int(_PROBE_SHARE * (self._work(known) - least) / window_work(half))

    def _cheapest(self, effect: EdgeEffect | None, tolerance: float = 0.0) -> Plan | None:
        """The plan of least work whose expected disagreement is allowed; None if there is none.

        Without an effect only plans with a margin for all that the network sees are allowed. The default plan is
        preferred to others of the same work.
        """
        found = self.default if _disagreement(self.default, effect) <= tolerance else None
        for tile in self._sides:
            overlaps = self._overlaps(tile)

            def keeps(overlap: int | None, tile: int = tile) -> bool:
                plan = self._plan(tile, overlap)
                return plan is not None and _disagreement(plan, effect) <= tolerance

            place = bisect_left(overlaps, True, key=keeps)
            plan = self._plan(tile, overlaps[place]) if place < len(overlaps) else None
            if plan and self._work(plan) <= self._work(self.default) and (
                found is None or self._work(plan) < self._work(found)
            ):  # fmt: skip
                found = plan
        return found

    def _closest(self, effect: EdgeEffect) -> Plan:
        """The plan of least disagreement among those with no more work than the default one."""
        plans = (self._plan(tile, overlap) for tile in self._sides for overlap in self._overlaps(tile))
        limit = self._work(self.default)
        allowed = [plan for plan in plans if plan and self._work(plan) <= limit]
        return min([self.default, *allowed], key=lambda plan: _disagreement(plan, effect))

    @property
    def _measures_overlap(self) -> bool:
        """Whether the overlap is open; that of an exact map follows from what the network sees."""
        return self.options.overlap_given is None and not PRESETS[self.options.blend].exact

    @cached_property
    def _sides(self) -> list[int]:
        """Sides of tiles to try (px)."""
        if self.options.tile_px is not None:
            return [self.options.tile_px]
        factor = downsampling_factor(self.model.network)
        step = -(-_LEAST_STEP // self.model.step) * self.model.step
        usual = self.default.grid.rows.tile
        first, last = min(_SMALLEST_TILE * factor, usual), max(_LARGEST_TILE * factor, usual)
        stride = -(-max(1, (last - first) // _SIDES) // step) * step
        return list(range(-(-first // step) * step, last + 1, stride))

    def _overlaps(self, tile: int) -> Sequence[int | None]:
        """Overlaps to try (px), ascending; None for the one that the options lead to."""
        if not self._measures_overlap:
            return [None]
        step = self.model.step
        most = min(-(-2 * (self.model.halo or 0) // step) * step, tile // 2)
        return range(0, most + 1, step)

    def _plan(self, tile: int, overlap: int | None) -> Plan | None:
        """The plan with these tiles; the overlap is cut in its middle. None if it is not possible."""
        options = replace(self.options, tile=tile, overlap=self.options.overlap_given, tolerance=None)
        if overlap is not None:
            stride = self.model.stride
            options = self.options.with_tiles(tile, overlap, overlap // 2 // stride * stride)
        batch = largest_batch(options, self.backend)
        try:
            plan = plan_tiles(self.source, self.model, options, self.default.roi, self._bytes_per_pixel, batch)
        except GridError:
            return None
        return plan if plan.memory.total <= self._memory else None

    @property
    def _memory(self) -> int:
        """Bytes that a plan may take."""
        return self.options.max_memory or max(_MEMORY, self.default.memory.total)

    @cached_property
    def _bytes_per_pixel(self) -> float:
        return self.backend.memory_per_pixel()

    def _work(self, plan: Plan) -> int:
        """Pixels that the network takes, expected from where the raster has data."""
        return self.coverage.tiles(plan) * plan.grid.rows.length * plan.grid.cols.length

    def _certificate(self, plan: Plan, effect: EdgeEffect | None, tolerance: float) -> TilingCertificate:
        pixels = self.default.roi.width * self.default.roi.height
        disagreement = _disagreement(plan, effect)
        measured = effect is not None and not plan.exact
        return TilingCertificate(
            windows=0 if effect is None else len(effect.unlike),
            pixels_compared=0 if effect is None else int(effect.compared.sum()),
            disagreement=disagreement,
            disagreement_95=effect.interval(plan.grid) if effect is not None and measured else (0.0, 0.0),
            default_disagreement=None if effect is None else _disagreement(self.default, effect),
            tolerance=tolerance,
            within_tolerance=disagreement <= tolerance,
            work=self._work(plan) / pixels,
            default_work=self._work(self.default) / pixels,
            probe_work=0.0 if effect is None else effect.pixels_run / pixels,
        )


def _disagreement(plan: Plan, effect: EdgeEffect | None) -> float:
    """Expected share of labels unlike those of an untiled run; 1 where it is not known."""
    if plan.exact:
        return 0.0
    return 1.0 if effect is None else effect.disagreement(plan.grid)
