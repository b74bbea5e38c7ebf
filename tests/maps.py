"""Finished maps without a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from conftest import UTM, write_raster

from agriseg.legend import Legend
from agriseg.maps.reader import FinishedMap


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
    told = {"format": 1, "classes": [{"id": k, "name": name} for k, name in enumerate(names)], **(record or {})}
    (folder / f"{stem}_run.json").write_text(json.dumps(told))
    return FinishedMap.of(folder / f"{stem}_run.json")
