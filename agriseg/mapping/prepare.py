"""Everything that is decided before the first tile: for `run`, for `run --dry-run` and for `inspect`."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agriseg.errors import DeviceMemoryError, UsageError
from agriseg.grid import PRESETS
from agriseg.inference.backend import Backend, choose_backend
from agriseg.inference.plan import Plan, make_plan
from agriseg.mapping.compatibility import ModelInput, check_compatibility
from agriseg.maps.area import hectares
from agriseg.model import SegmentationModel
from agriseg.options.run import RunOptions
from agriseg.raster.header import Georeference, RasterInfo


@dataclass(frozen=True)
class MappingJob:
    """A raster, a model, and how one will be run over the other.

    Args:
        info: the raster's header.
        model: what maps it.
        options: what the user chose.
        contract: how the model reads the raster.
        plan: how the raster is cut.
        backend: runs the network.
        notes: what had to be changed for want of memory.
    """

    info: RasterInfo
    model: SegmentationModel
    options: RunOptions
    contract: ModelInput
    plan: Plan
    backend: Backend
    notes: tuple[str, ...] = ()

    @property
    def georeference(self) -> Georeference:
        """Of the mapped window."""
        roi = self.plan.roi
        return self.contract.source.georeference.shifted(roi.col_off, roi.row_off)

    @property
    def hectares(self) -> float | None:
        """Ground under the mapped window, valid or not; None where it is unknown."""
        return hectares(self.georeference, self.plan.roi.width, self.plan.roi.height)

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before trusting the map."""
        said = [*self.contract.warnings, *self.notes]
        plan, halo = self.plan, self.model.halo
        if PRESETS[self.options.blend].exact and not plan.exact:
            said.append(
                f"margin {plan.grid.rows.margin} is less than the {halo} px the network sees: the map is not exact"
            )
        if (self.options.batch or 1) > 1 and self.backend.device.type == "cpu":
            said.append("on a CPU the network takes one tile at a time, whatever --batch says: same speed, same bytes")
        return said


def prepare(image: Path, model: SegmentationModel, options: RunOptions) -> MappingJob:
    """Check a raster against a model and plan the run.

    Raises:
        AgrisegError: whatever would stop the run before its first tile.
    """
    info = RasterInfo.read(image)
    contract = check_compatibility(info, model, options)
    backend = choose_backend(model, options)
    plan = make_plan(contract.source, model, options, contract.roi, backend)
    return MappingJob(info, model, options, contract, plan, backend)


def with_less_memory(prepared: MappingJob, error: DeviceMemoryError) -> MappingJob:
    """The same run with half the tile, or else on the CPU; only what the user has left open is changed.

    Raises:
        DeviceMemoryError: the given error, when nothing is left open.
    """
    options, tile = prepared.options, prepared.plan.grid.rows.tile
    half = tile // 2 // prepared.model.step * prepared.model.step
    if options.tile is None and half:
        with suppress(UsageError):  # half is too small for the overlap
            return _again(prepared, replace(options, tile=half), f"in tiles of {half} px instead of {tile}")
    if options.device == "auto" and prepared.backend.device.type != "cpu":
        return _again(prepared, replace(options, device="cpu"), f"on the CPU instead of {prepared.backend.device}")
    raise error


def _again(prepared: MappingJob, options: RunOptions, how: str) -> MappingJob:
    """The same raster and model with other options."""
    fresh = prepare(prepared.info.path, prepared.model, options)
    return replace(fresh, notes=(*prepared.notes, f"the device's memory was too small: mapped {how}"))
