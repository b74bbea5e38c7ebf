"""Finished maps without a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from conftest import UTM, write_raster

from agriseg.legend import Legend
from agriseg.maps.reader import FinishedMap

RECORD: dict[str, Any] = {
    "format": 1, "finished": "2026-07-01T00:00:00+00:00",
    "input": {
        "path": "/flights/field.tif", "bytes": 1, "acquired": None, "width": 80, "height": 60, "bands": 3,
        "dtype": "uint8", "crs": None, "transform": [1, 0, 0, 0, -1, 0], "gsd_m": None, "sha256": "ab" * 32, "files": [],
    },
    "model": {
        "name": "m", "fingerprint": "01" * 32, "architecture": None, "classes": ["soil", "crop", "weed"],
        "bands": ["red", "green", "blue"], "scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1], "gsd_m": None,
        "stride_px": 1, "align_px": 1, "halo_px": 0, "temperature": 1, "path": None, "purpose": None, "evaluation": None,
    },
    "parameters": {
        "bands": {"red": 1, "green": 2, "blue": 3}, "alpha_bands": [], "nodata": [], "file_mask": False,
        "working_size": [80, 60], "resampling_factor": [1, 1], "window": [0, 0, 80, 60], "blend": "smooth",
        "tile_px": 512, "overlap_px": 128, "margin_px": 0, "exact": False, "on_read_error": "stop", "tiles": 1,
        "batch": 1, "band_rows": 1, "device": "cpu", "precision": "fp32", "expected_memory_bytes": 1,
    },
    "options": {}, "run": "", "pixels": {"total": 4800, "predicted": 4800, "nodata": 0, "failed": 0}, "classes": [],
    "lost_windows": [], "tiles_run": 1,
    "verdict": {
        "colour": "green", "reasons": [], "causes": [], "unchecked": [], "distance": None, "gsd_ratio": None,
        "doubtful": 0, "doubtful_class": 0, "nodata": 0, "failed": 0,
    },
    "seam_ratio": None, "confidence": {"bin": 0.04, "pixels": [0] * 25}, "warnings": [],
    "seconds": {"map": 1, "publish": 1}, "outputs": {}, "contents": {}, "versions": {"agriseg": "0"},
    "machine": {
        "system": "", "python": "", "processor": "", "torch_threads": 1, "device": "cpu", "peak_memory_bytes": 1
    },
}  # fmt: skip
"""A complete record of a run."""


def merged(values: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """The record with other values: one level down where a part is a dictionary."""
    return {
        **values,
        **{name: {**values[name], **part} if isinstance(part, dict) else part for name, part in parts.items()},
    }


def finished(
    folder: Path, mask: np.ndarray, confidence: np.ndarray | None = None, *, names: tuple[str, ...] = ("soil", "crop", "weed"),
    stem: str = "field", crs: Any = UTM["crs"], transform: Any = UTM["transform"], record: dict[str, Any] | None = None,
) -> FinishedMap:  # fmt: skip
    """Files of (H, W) uint8 class ids and confidence (200 where not given), and their record."""
    folder.mkdir(parents=True, exist_ok=True)
    if confidence is None:
        confidence = np.where(mask == 255, 255, 200).astype(np.uint8)
    legend, where = Legend.from_names(names), {"crs": crs, "transform": transform, "nodata": 255, "compress": "deflate"}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512} if min(mask.shape) >= 512 else {}
    path = folder / f"{stem}_classes.tif"
    write_raster(path, mask[None], photometric="PALETTE", **where, **tiles)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, legend.colormap)
    write_raster(folder / f"{stem}_confidence.tif", confidence[None], **where, **tiles)
    counts = [
        {"id": k, "name": name, "pixels": int((mask == k).sum()), "hectares": None} for k, name in enumerate(names)
    ]
    values = merged({**RECORD, "classes": counts}, record or {})
    (folder / f"{stem}_run.json").write_text(json.dumps(values))
    return FinishedMap.of(folder / f"{stem}_run.json")
