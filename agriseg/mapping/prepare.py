"""Plans the run of a model over a raster: all that is decided before the first tile."""

from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agriseg.backends.backend import Backend
from agriseg.backends.choose_backend import choose_backend, choose_runtime
from agriseg.errors import DeviceMemoryError, UsageError
from agriseg.grid import PRESETS
from agriseg.inference.choose_tiles import choose_plan
from agriseg.inference.fastest_runtime import choose_fastest
from agriseg.inference.plan import Plan
from agriseg.legend import CONFIDENCE_STEP, Legend
from agriseg.mapping.compatibility import ModelInput, check_compatibility
from agriseg.maps.pixel_counts import hectares
from agriseg.maps.runtime_choice import RuntimeChoice
from agriseg.maps.tiling_certificate import TilingCertificate
from agriseg.model import SegmentationModel, load_model
from agriseg.options.run import AUTO, RunOptions
from agriseg.raster.georeference import Georeference
from agriseg.raster.header import RasterInfo
from agriseg.raster.identity import FileStamp


@dataclass(frozen=True)
class MappingJob:
    """A raster, a model, and the plan of the run.

    Args:
        options: of the run, with the runtime that was chosen in `backend`.
        legend: of the map: the model's, with `unsure` if the options have a least confidence.
        model_input: how the model reads the raster.
        notes: what was changed for lack of memory.
        certificate: what is known of tiles that were chosen by measurement.
        runtime: why `--backend auto` chose the runtime; None without it.
    """

    info: RasterInfo
    model: SegmentationModel
    legend: Legend
    options: RunOptions
    model_input: ModelInput
    plan: Plan
    backend: Backend
    notes: tuple[str, ...] = ()
    certificate: TilingCertificate | None = None
    runtime: RuntimeChoice | None = None

    def mapped(self, classes: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Ids of the map, from those of the network and the counts of the confidence layer at the same pixels.

        A pixel is unsure if its confidence as the layer holds it, a multiple of 0.004, is below the least one. At that
        limit it keeps its class. Nodata, 255 in both, stays.
        """
        if self.options.min_confidence is None:
            return classes
        limit = ceil(Decimal(str(self.options.min_confidence)) / Decimal(str(CONFIDENCE_STEP)))
        return np.where(confidence < limit, np.uint8(len(self.model.legend)), classes)

    @property
    def numbered_options(self) -> RunOptions:
        """The options with the tiles of the plan in place of `auto`, for those who shall not measure again."""
        if not self.options.has_auto:
            return self.options
        rows = self.plan.grid.rows
        return self.options.with_tiles(rows.tile, rows.overlap, rows.margin)

    @property
    def chosen_tiles(self) -> str | None:
        """A sentence on the tiles that `auto` led to; None without it."""
        if not self.options.has_auto:
            return None
        rows, certificate = self.plan.grid.rows, self.certificate
        known = "the default ones, nothing to gain by a measurement" if certificate is None else certificate.text
        return f"tiles of {rows.tile} px, overlap {rows.overlap}: {known}"

    @property
    def choices(self) -> tuple[str, ...]:
        """A sentence for each choice that was measured: the runtime, the tiles."""
        texts = self.runtime and self.runtime.text, self.chosen_tiles
        return tuple(text for text in texts if text)

    @property
    def georeference(self) -> Georeference:
        """Of the mapped window."""
        roi = self.plan.roi
        return self.model_input.source.georeference.shifted(roi.col_off, roi.row_off)

    @property
    def hectares(self) -> float | None:
        """Area of the mapped window, valid or not; None if it is unknown."""
        return hectares(self.georeference, self.plan.roi.width, self.plan.roi.height)

    @property
    def warnings(self) -> list[str]:
        """Warnings about the map, known before the run."""
        warnings = [*self.model_input.warnings, *self.notes]
        plan, halo = self.plan, self.model.halo
        if PRESETS[self.options.blend].exact and not plan.exact:
            warnings.append(
                f"margin {plan.grid.rows.margin} is less than the {halo} px the network sees: the map is not exact"
            )
        if (self.options.batch or 1) > 1 and self.backend.device.type == "cpu":
            warnings.append(
                "on a CPU the network takes one tile at a time, whatever --batch says: same speed, same bytes"
            )
        return warnings


def prepare(
    image: Path, model: SegmentationModel, options: RunOptions, known: RuntimeChoice | None = None
) -> MappingJob:
    """Check a raster against a model and plan the run.

    Args:
        known: the runtime that an earlier run chose, so that nothing is measured for it.

    Raises:
        AgrisegError: an error that would stop the run before its first tile.
    """
    info = RasterInfo.read(image)
    legend = model.legend if options.min_confidence is None else model.legend.with_unsure()
    model_input = check_compatibility(info, model, options)
    if model.normalize_by == "raster":
        model = replace(model, raster_mean=model_input.raster_mean)
    options, backend, choice = _with_runtime(model, options, model_input, known)
    plan, certificate = choose_plan(model_input.source, model, options, model_input.roi, backend)
    return MappingJob(
        info, model, legend, options, model_input, plan, backend, certificate=certificate, runtime=choice
    )  # fmt: skip


def _with_runtime(
    model: SegmentationModel, options: RunOptions, model_input: ModelInput, known: RuntimeChoice | None
) -> tuple[RunOptions, Backend, RuntimeChoice | None]:
    """The options with the runtime by its name, the same in every worker; its backend; why it was chosen."""
    if options.backend != AUTO:
        options = replace(options, backend=choose_runtime(model, options.backend))
        return options, choose_backend(model, options), None
    if known is not None:
        options = replace(options, backend=known.runtime)
        return options, choose_backend(model, options), known
    choice, backend = choose_fastest(model_input.source, model, options, model_input.roi)
    return replace(options, backend=choice.runtime), backend, choice


def with_less_memory(job: MappingJob, error: DeviceMemoryError) -> MappingJob:
    """The same run with half the tile, or else on the CPU; options that the user gave do not change.

    Raises:
        DeviceMemoryError: the given error, if the user gave both tile and device.
    """
    options, tile = job.options, job.plan.grid.rows.tile
    half = tile // 2 // job.model.step * job.model.step
    if options.tile_px is None and half:
        with suppress(UsageError):  # half is too small for the overlap
            smaller = replace(options, tile=half, overlap=options.overlap_given, tolerance=None)
            return _again(job, smaller, f"in tiles of {half} px instead of {tile}")
    if options.device == "auto" and job.backend.device.type != "cpu":
        return _again(job, replace(options, device="cpu"), f"on the CPU instead of {job.backend.device}")
    raise error


def _again(job: MappingJob, options: RunOptions, change: str) -> MappingJob:
    """The same raster and model with other options."""
    fresh = prepare(job.info.path, job.model, options)
    return replace(
        fresh, runtime=job.runtime, notes=(*job.notes, f"the device's memory was too small: mapped {change}")
    )


def cached_model(path: Path) -> SegmentationModel:
    """The model in a file; a process loads it again only if the file changes."""
    return _loaded(path, FileStamp.of_files([path]))


@lru_cache(maxsize=1)
def _loaded(path: Path, _stamp: FileStamp) -> SegmentationModel:
    return load_model(path)
