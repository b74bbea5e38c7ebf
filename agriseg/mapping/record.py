"""Builds the record of a run from its parts."""

import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from agriseg.errors import DataError, ModelError, UsageError
from agriseg.files import file_hash
from agriseg.flight_date import flight_date
from agriseg.json_text import from_json, nodata_value
from agriseg.mapping.prepare import MappingJob
from agriseg.mapping.products import Products
from agriseg.maps.pixel_counts import PixelCounts
from agriseg.maps.record import (
    InputRecord,
    MachineRecord,
    ModelRecord,
    NetworkRecord,
    PixelTotals,
    RasterRecord,
    RunParameters,
    RunRecord,
    RunSeconds,
    options_json,
)
from agriseg.maps.run_identity import RunIdentity, versions
from agriseg.model import SegmentationModel
from agriseg.options.verdict import PublishPolicy, VerdictLimits
from agriseg.raster.header import RasterInfo
from agriseg.raster.identity import InputIdentity
from agriseg.training_facts import GsdCurve, TrainingFacts
from agriseg.vectors.identity import content_hashes
from agriseg.verdict import CRITERIA, Verdict, VerdictInput


def describe_raster(info: RasterInfo) -> RasterRecord:
    """Header of a raster."""
    where = info.georeference
    return RasterRecord(
        path=str(info.path.resolve()),
        bytes=info.stamp.size,
        acquired=flight_date(info.path.absolute()),
        width=info.width,
        height=info.height,
        bands=info.count,
        dtype=info.dtype,
        crs=where.crs.to_string() if where.crs else None,
        transform=tuple(where.transform)[:6],
        gsd_m=info.gsd,
    )


def describe_input(info: RasterInfo, content: InputIdentity) -> InputRecord:
    """Header and content of the input raster."""
    return InputRecord(**vars(describe_raster(info)), sha256=content.files[0].sha256, files=content.files)


def describe_network(job: MappingJob) -> NetworkRecord:
    """The part of the model that decides the map."""
    model, normalization = job.model, job.model.normalization
    return NetworkRecord(
        name=model.name,
        fingerprint=model.fingerprint,
        architecture=model.architecture,
        classes=model.legend.names,
        bands=model.bands,
        scale=normalization.scale,
        mean=normalization.mean,
        std=normalization.std,
        gsd_m=model.gsd,
        stride_px=model.stride,
        align_px=model.step,
        halo_px=model.halo,
        temperature=model.temperature,
    )


def describe_model(job: MappingJob) -> ModelRecord:
    """The model, its file and its scores."""
    path = job.model.path
    return ModelRecord(
        **vars(describe_network(job)),
        path=None if path is None else str(path.resolve()),
        purpose=job.model.about.get("purpose"),
        evaluation=job.model.about.get("evaluation"),
    )


def describe_plan(job: MappingJob) -> RunParameters:
    """The effective parameters."""
    plan, model_input = job.plan, job.model_input
    rows, roi, rule = plan.grid.rows, plan.roi, model_input.source.rule
    return RunParameters(
        bands=model_input.mapping,
        alpha_bands=rule.alpha,
        nodata=tuple((band, nodata_value(value)) for band, value in rule.nodata),
        file_mask=rule.file_mask,
        working_size=(model_input.source.width, model_input.source.height),
        resampling_factor=model_input.factor,
        window=(roi.col_off, roi.row_off, roi.width, roi.height),
        blend=job.options.blend,
        tile_px=rows.tile,
        overlap_px=rows.overlap,
        margin_px=rows.margin,
        exact=plan.exact,
        on_read_error=job.options.on_read_error,
        tiles=plan.tiles,
        batch=plan.batch,
        band_rows=plan.band_rows,
        device=job.backend.device_name,
        precision=job.backend.precision,
        expected_memory_bytes=plan.memory.total,
    )


def identity_of(job: MappingJob, policy: PublishPolicy | None = None) -> RunIdentity:
    """The identity of a planned run; with a policy, also of the place where its map is published."""
    return RunIdentity(
        job.model.fingerprint, job.options, torch.get_num_threads(), versions(),
        (job.info.path.name, job.info.stamp.text), describe_network(job), describe_plan(job), policy,
    )  # fmt: skip


@dataclass(frozen=True)
class RunOutcome:
    """What a run came to; the content of the input is read after the last tile."""

    run: str
    content: InputIdentity
    counts: PixelCounts
    pixels: PixelTotals
    verdict: Verdict
    products: Products
    warnings: tuple[str, ...]
    seconds: RunSeconds


def describe_run(job: MappingJob, outcome: RunOutcome, outputs: Sequence[Path]) -> RunRecord:
    """The record of a run; the files `outputs` go in with their hashes."""
    return RunRecord(
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        input=describe_input(job.info, outcome.content),
        model=describe_model(job),
        parameters=describe_plan(job),
        options=options_json(job.options),
        run=outcome.run,
        pixels=outcome.pixels,
        classes=outcome.counts.classes(job.legend),
        lost_windows=outcome.counts.lost_windows,
        tiles_run=outcome.counts.tiles,
        verdict=outcome.verdict,
        seam_ratio=outcome.products.seam_ratio,
        confidence=outcome.products.confidence,
        warnings=outcome.warnings,
        seconds=outcome.seconds,
        outputs={path.name: file_hash(path) for path in outputs},
        contents=content_hashes(outputs),
        versions=versions(),
        machine=_machine(job),
        tiling=job.certificate,
        runtime=job.runtime,
    )


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _machine(job: MappingJob) -> MachineRecord:
    return MachineRecord(
        system=platform.platform(),
        python=platform.python_version(),
        processor=str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine()),
        torch_threads=torch.get_num_threads(),
        device=job.backend.device_name,
        peak_memory_bytes=peak_memory(),
    )


def training_facts(model: SegmentationModel) -> TrainingFacts:
    """What a model knows of its training; of one that normalizes by the raster, the relative colours of its images.

    Raises:
        ModelError: its card has something else for a curve over GSD.
    """
    curve = curve_of(model)
    if model.normalize_by == "raster":
        colours = model.about.get("colours") or {}
        return TrainingFacts(
            model.name, None, tuple(colours.get("mean", ())), tuple(colours.get("std", ())), model.gsd,
            {**model.about, "correlation": colours.get("correlation")}, curve,
        )  # fmt: skip
    return TrainingFacts(model.name, model.scale, model.mean, model.std, model.gsd, model.about, curve)


def curve_of(model: SegmentationModel) -> GsdCurve | None:
    """The model's scores on coarser pixels; None where its card has none.

    Raises:
        ModelError: its card has something else there.
    """
    values = model.about.get("gsd_curve")
    if values is None:
        return None
    try:
        return from_json(GsdCurve, values, f"model {model.name!r}: its card's gsd_curve", "train it again")
    except DataError as error:
        raise ModelError(str(error)) from error


def limits_of(model: SegmentationModel) -> VerdictLimits:
    """The limits of the verdict that were found for this model; a user's limits replace them.

    Those of its card come first. The limits of `gsd_ratio` follow from its curve.

    Raises:
        ModelError: its card has something else there.
    """
    texts = model.about.get("limits", [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ModelError(f"model {model.name!r}: its card's limits are {texts!r}, expected such as ['distance=3:5']")
    try:
        limits = VerdictLimits.of(texts)
    except UsageError as error:
        raise ModelError(f"model {model.name!r}: its card's limits: {error}") from error
    curve = curve_of(model)
    if curve is None or model.gsd is None:
        return limits
    return limits.over(VerdictLimits({"gsd_ratio": curve.limits(CRITERIA["gsd_ratio"].limits)}))


def verdict_input(job: MappingJob, counts: PixelCounts, pixels: PixelTotals, seam_ratio: float | None) -> VerdictInput:
    """What is known of a finished map without labels."""
    sample = job.model_input.sample
    return VerdictInput(
        training=training_facts(job.model),
        raster_gsd=job.info.gsd,
        gsd=job.options.gsd,
        sample_mean=sample.mean,
        sample_valid=sample.valid,
        sample_enough=sample.enough,
        pixels=pixels.total,
        predicted=pixels.predicted,
        nodata=pixels.nodata,
        failed=pixels.failed,
        doubtful=tuple(counts.doubtful.tolist()),
        class_pixels=tuple(counts.network_pixels.tolist()),
        seam_ratio=seam_ratio,
    )
