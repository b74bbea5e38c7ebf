"""Writes and verifies the files of a map as drafts in the working folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.enums import Resampling

from agriseg import files
from agriseg.errors import StorageError
from agriseg.figures.quicklook import class_picture, confidence_picture, image_picture
from agriseg.legend import CONFIDENCE_STEP, NODATA
from agriseg.mapping.image_means import ImageMeans
from agriseg.mapping.prepare import MappingJob
from agriseg.maps.record import ConfidenceHistogram, PixelTotals
from agriseg.metrics import ClassChanges, value_counts
from agriseg.raster.cog import Layer, RowSource, beside, write_cog
from agriseg.raster.pam import PAM
from agriseg.raster.qml import category_names, run_layer_style
from agriseg.run_layers import CLASSES, CONFIDENCE, RUN_LAYERS, RunLayer
from agriseg.storage.blocks import BlockStore
from agriseg.timing.stages import Clock, Stage

BIN_COUNTS = 10
"""Steps of the confidence layer per bin of its histogram: 25 bins of 0.04; the last contains confidence 1."""
_CERTAIN = round(1 / CONFIDENCE_STEP)


@dataclass(frozen=True)
class Products:
    """The drafts of the files of a map.

    Args:
        files: in the working folder; each is called as the output is, but for the stem.
    """

    files: tuple[Path, ...]
    seam_ratio: float | None
    confidence: ConfidenceHistogram


def write_products(
    prepared: MappingJob, store: BlockStore, folder: Path, pixels: PixelTotals, clock: Clock, image: ImageMeans | None
) -> Products:
    """Write the layers and their legends, and the quick looks if there are means of the image.

    Raises:
        StorageError: a layer does not hold what was sent, or not as many pixels without data as `pixels` says.
    """
    legend, changes, counts = prepared.legend, ClassChanges(store.width), np.zeros(256, np.int64)

    def count(rows: NDArray[np.uint8]) -> None:
        counts[:] += value_counts(rows)

    seen: dict[str, Callable[[NDArray[np.uint8]], None]] = {"classes": changes.add, "confidence": count}
    made = []
    contents: dict[str, bytes] = {}
    for layer in (each for each in RUN_LAYERS if each.name in prepared.plan.layers):
        rows: RowSource = store.layer(layer.name)
        rows = _Seen(rows, seen[layer.name]) if layer.name in seen else rows
        if layer is CLASSES and prepared.legend.has_unsure:
            rows = _Mapped(rows, store.layer(CONFIDENCE.name), prepared)
        made.append(_verified(rows, _published(layer, prepared), folder, pixels, clock))
        contents[f"{layer.name}.qml"] = run_layer_style(layer, legend).encode()
        if layer.style == "palette":
            contents[f"{layer.raster}{PAM}"] = category_names(legend, made[-1]).encode()
    if image:
        with clock(Stage.PICTURES):
            contents |= _quicklooks(prepared, image, *made[:2])
    for name, data in contents.items():
        files.write_bytes(folder / name, data)
        made.append(folder / name)
    made += [pam for path in made[1:] if path.suffix == ".tif" and (pam := beside(path)).exists()]
    seams = changes.ratio(prepared.plan.grid.cols.seams, prepared.plan.grid.rows.seams)
    histogram = ConfidenceHistogram(BIN_COUNTS * CONFIDENCE_STEP, tuple(_binned(counts).tolist()))
    return Products(tuple(made), seams, histogram)


def _quicklooks(prepared: MappingJob, image: ImageMeans, classes: Path, confidence: Path) -> dict[str, bytes]:
    """PNG files by the ends of their names."""
    return {
        "image.png": image_picture(image.all()),
        "classes.png": class_picture(classes, prepared.legend),
        "confidence.png": confidence_picture(confidence, len(prepared.model.legend)),
    }


class _Passed:
    """Base of sources that pass on the rows of a layer."""

    def __init__(self, rows: RowSource) -> None:
        self.height, self.width, self.bands, self.dtype, self.nodata = (
            rows.height, rows.width, rows.bands, rows.dtype, rows.nodata,
        )  # fmt: skip
        self._rows = rows


class _Seen(_Passed):
    """Rows that call `show` when they are first read, from top to bottom."""

    def __init__(self, rows: RowSource, show: Callable[[NDArray[np.uint8]], None]) -> None:
        super().__init__(rows)
        self._show, self._next = show, 0

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        pixels = self._rows.read(start, stop)
        if start == self._next:
            self._show(pixels[0])
            self._next = stop
        return pixels


class _Mapped(_Passed):
    """Rows of the map: those of the network, with `unsure` where the confidence is too low."""

    def __init__(self, rows: RowSource, confidence: RowSource, job: MappingJob) -> None:
        super().__init__(rows)
        self._confidence, self._job = confidence, job

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        return self._job.mapped(self._rows.read(start, stop), self._confidence.read(start, stop))


def _verified(rows: RowSource, layer: Layer, folder: Path, pixels: PixelTotals, clock: Clock) -> Path:
    """Write a layer, and check its number of nodata pixels."""
    path, nodata = write_cog(rows, layer, folder, torch.get_num_threads(), clock)
    expected = pixels.nodata + pixels.failed
    if nodata != expected:
        raise StorageError(f"{path.name}: {nodata} pixels without data, expected {expected}; check the disk")
    return path


def _published(layer: RunLayer, prepared: MappingJob) -> Layer:
    """The GeoTIFF of a layer."""
    model, palette = prepared.model, layer.style == "palette"
    return Layer(
        layer.name, prepared.georeference, layer.band_names(model.legend), Resampling[layer.resampling],
        prepared.legend.colormap if palette else None, layer.scale,
        {"AREA_OR_POINT": "Area", "AGRISEG_MODEL": model.name, "AGRISEG_MODEL_FINGERPRINT": model.fingerprint},
        prepared.legend.tags if palette else {},
    )  # fmt: skip


def _binned(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels per bin, from pixels per value; confidence 1 belongs to the last bin, nodata to none."""
    known = counts[: _CERTAIN + 1].copy()
    known[_CERTAIN - 1] += known[_CERTAIN]
    if counts[_CERTAIN + 1 : NODATA].any():
        raise StorageError("the confidence layer holds numbers above 250; check the disk")
    return np.asarray(known[:_CERTAIN].reshape(-1, BIN_COUNTS).sum(1), np.int64)
