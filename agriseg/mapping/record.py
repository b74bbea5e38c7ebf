"""The record of a run: everything somebody needs to trust the map, or to make it again."""

import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from agriseg.files import file_hash
from agriseg.json_text import json_document, nodata_value
from agriseg.mapping.prepare import MappingJob, device_name
from agriseg.maps.discover import flight_date
from agriseg.maps.versions import versions
from agriseg.options.run import RunOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.identity import InputIdentity
from agriseg.vectors.identity import content_hashes


def describe_run(prepared: MappingJob, mapped: InputIdentity, outcome: Mapping[str, Any], outputs: list[Path]) -> str:
    """The run as JSON text.

    Args:
        prepared: raster, model and plan.
        mapped: the raster by content, and the files that GDAL opens with it.
        outcome: pixels, classes, timings, warnings: what the run found.
        outputs: files written, each goes in with its hash.
    """
    record = {
        "format": 1,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": {**describe_raster(prepared.info), "sha256": mapped.files[0].sha256, "files": mapped.as_list()},
        "model": {
            **describe_model(prepared),
            "path": prepared.model.path and str(prepared.model.path.resolve()),
            "evaluation": prepared.model.about.get("evaluation"),
        },
        "parameters": describe_plan(prepared),
        "options": _describe_options(prepared.options),
        **outcome,
        "outputs": {path.name: file_hash(path) for path in outputs},
        "contents": content_hashes(outputs),
        "versions": versions(),
        "machine": _machine(prepared),
    }
    return json_document(record)


def describe_raster(info: RasterInfo) -> dict[str, Any]:
    """The header, for people and programs."""
    where = info.georeference
    return {
        "path": str(info.path.resolve()),
        "bytes": info.stamp.size,
        "acquired": flight_date(info.path.absolute()),
        "width": info.width,
        "height": info.height,
        "bands": info.count,
        "dtype": info.dtype,
        "crs": where.crs.to_string() if where.crs else None,
        "transform": list(where.transform)[:6],
        "gsd_m": info.gsd,
    }


def describe_model(prepared: MappingJob) -> dict[str, Any]:
    """What of the model decides the map."""
    model = prepared.model
    return {
        "name": model.name,
        "fingerprint": model.fingerprint,
        "architecture": model.architecture,
        "classes": list(model.legend.names),
        "bands": list(model.bands),
        "scale": model.scale,
        "mean": list(model.mean),
        "std": list(model.std),
        "gsd_m": model.gsd,
        "stride_px": model.stride,
        "align_px": model.step,
        "halo_px": model.halo,
        "temperature": model.temperature,
    }


def describe_plan(prepared: MappingJob) -> dict[str, Any]:
    """The effective parameters."""
    plan, contract = prepared.plan, prepared.contract
    rows, roi = plan.grid.rows, plan.roi
    return {
        "bands": contract.mapping,
        "alpha_bands": list(contract.source.rule.alpha),
        "nodata": [[band, nodata_value(value)] for band, value in contract.source.rule.nodata],
        "file_mask": contract.source.rule.file_mask,
        "working_size": [contract.source.width, contract.source.height],
        "resampling_factor": list(contract.factor),
        "window": [roi.col_off, roi.row_off, roi.width, roi.height],
        "blend": prepared.options.blend,
        "tile_px": rows.tile,
        "overlap_px": rows.overlap,
        "margin_px": rows.margin,
        "exact": plan.exact,
        "on_read_error": prepared.options.on_read_error,
        "tiles": plan.tiles,
        "batch": plan.batch,
        "band_rows": plan.band_rows,
        "device": device_name(prepared.forward.device),
        "precision": prepared.forward.precision,
        "expected_memory_bytes": plan.memory.total,
    }


def _describe_options(options: RunOptions) -> dict[str, Any]:
    """What the user chose, as `RunOptions.of` takes it."""
    window = options.window
    placed = None if window is None else [window.col_off, window.row_off, window.width, window.height]
    return {**asdict(options), "window": placed, "bands": options.bands, "nodata": nodata_value(options.nodata)}


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _machine(prepared: MappingJob) -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine()),
        "torch_threads": torch.get_num_threads(),
        "device": device_name(prepared.forward.device),
        "peak_memory_bytes": peak_memory(),
    }
