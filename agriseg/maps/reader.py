"""A finished map: mask and confidence on one grid, read in strips of rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from agriseg.errors import DataError, InputMissing
from agriseg.legend import NODATA, Legend
from agriseg.maps.record import RECORD, RunRecord
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.georeference import Georeference
from agriseg.raster.header import RasterInfo
from agriseg.raster.safe_open import open_raster
from agriseg.run_layers import CLASSES, CONFIDENCE
from agriseg.vectors.features import moved

ROWS = 1024
"""Rows of a strip; two rows of blocks of the published files."""


@dataclass(frozen=True)
class MapStrip:
    """Whole rows of a map.

    Args:
        row_off: first row, in the map.
        mask: (h, width) uint8 class ids, 255 nodata.
        confidence: (h, width) uint8 in steps of 0.004, 255 nodata.
    """

    row_off: int
    mask: NDArray[np.uint8]
    confidence: NDArray[np.uint8]

    @property
    def rows(self) -> range:
        """Its rows, in the map."""
        return range(self.row_off, self.row_off + len(self.mask))


class StripSource(Protocol):
    """A mask and its confidence, read from top to bottom."""

    @property
    def width(self) -> int:
        """Columns."""

    def strips(self, rows: int = ROWS) -> Iterator[MapStrip]:
        """From top to bottom, `rows` at a time."""

    def areas(self, rows: range) -> NDArray[np.float64] | None:
        """Square metres of one pixel of each of these rows; None where the ground is unknown."""


class MaskSource(StripSource, Protocol):
    """A mask and its confidence on one grid: of a run, or clipped or cleaned up."""

    @property
    def legend(self) -> Legend:
        """Of the mask."""

    @property
    def georeference(self) -> Georeference:
        """Of the grid."""

    @property
    def height(self) -> int:
        """Rows."""

    def read(self, start: int, stop: int) -> MapStrip:
        """Rows `[start, stop)`."""


@dataclass(frozen=True)
class FinishedMap:
    """The map of a finished run."""

    classes: Path
    confidence: Path
    legend: Legend
    georeference: Georeference
    width: int
    height: int
    record: RunRecord

    @classmethod
    def of(cls, record: Path) -> "FinishedMap":
        """The map of a record.

        Raises:
            InputMissing: a layer is not there.
            DataError: the record or a layer is damaged, or they are not of one run.
        """
        run = RunRecord.read(record)
        stem = record.name.removesuffix(RECORD)
        classes, confidence = (record.with_name(f"{stem}_{layer.raster}") for layer in (CLASSES, CONFIDENCE))
        for path in (classes, confidence):
            if not path.is_file():
                raise InputMissing(f"{path}: is gone, the record {record.name} has it; run agriseg run again")
        names = [entry.name for entry in run.classes]
        info, sure = (RasterInfo.read(path) for path in (classes, confidence))
        if (info.width, info.height) != (sure.width, sure.height):
            raise DataError(f"{confidence}: of another size than {classes.name}; run agriseg run again")
        with open_raster(classes) as dataset:
            colours = dataset.colormap(1)
        legend = Legend.from_names(names, ["#{:02x}{:02x}{:02x}".format(*colours[k]) for k in range(len(names))])
        legend = replace(legend, has_unsure=run.min_confidence is not None)
        return cls(classes, confidence, legend, info.georeference, info.width, info.height, run)

    @property
    def stem(self) -> str:
        """First part of the names of the run's files."""
        return self.classes.name.removesuffix(f"_{CLASSES.raster}")

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.classes.parent

    @property
    def doubts(self) -> list[str]:
        """Warning for all that is made of a map whose verdict is not green; empty if it is."""
        verdict = self.record.verdict
        if verdict.colour == "green":
            return []
        return [f"the verdict of {self.stem} is {verdict.colour}: {'; '.join(verdict.reasons)}"]

    def strips(self, rows: int = ROWS) -> Iterator[MapStrip]:
        """The map from its top to its bottom, `rows` at a time.

        Raises:
            DataError: a block cannot be decoded.
        """
        with open_raster(self.classes) as mask, open_raster(self.confidence) as confidence:
            for start in range(0, self.height, rows):
                yield self._strip(mask, confidence, start, min(start + rows, self.height))

    def read(self, start: int, stop: int) -> MapStrip:
        """Rows `[start, stop)`.

        Raises:
            DataError: a block cannot be decoded.
        """
        with open_raster(self.classes) as mask, open_raster(self.confidence) as confidence:
            return self._strip(mask, confidence, start, stop)

    def areas(self, rows: range) -> NDArray[np.float64] | None:
        """Square metres of one pixel of each of these rows; None where the ground is unknown."""
        return self.georeference.pixel_areas(self.width, rows)

    def _strip(
        self, mask: rasterio.DatasetReader, confidence: rasterio.DatasetReader, start: int, stop: int
    ) -> MapStrip:
        window = rasterio.windows.Window(0, start, self.width, stop - start)
        with gdal_calls(f"{self.classes}: rows {start} to {stop} cannot be read; run agriseg run again"):
            classes, sure = mask.read(1, window=window), confidence.read(1, window=window)
        sure[classes == NODATA] = NODATA
        return MapStrip(start, classes, sure)


@dataclass(frozen=True)
class SameGrid:
    """Base of sources on the grid of another source, with its legend."""

    source: MaskSource

    @property
    def legend(self) -> Legend:
        """Of the mask."""
        return self.source.legend

    @property
    def georeference(self) -> Georeference:
        """Of the grid."""
        return self.source.georeference

    @property
    def width(self) -> int:
        """Columns."""
        return self.source.width

    @property
    def height(self) -> int:
        """Rows."""
        return self.source.height

    def areas(self, rows: range) -> NDArray[np.float64] | None:
        """Square metres of one pixel of each of these rows; None where the ground is unknown."""
        return self.source.areas(rows)


@dataclass(frozen=True)
class MaskLayer(SameGrid):
    """The mask of a source as a layer to publish; `raster.cog.Rows`."""

    bands = 1
    dtype = "uint8"
    nodata = float(NODATA)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows `[start, stop)`, (1, stop - start, width)."""
        return self.source.read(start, stop).mask[None]


def find_records(place: Path) -> list[Path]:
    """Records of finished runs: the one that is named, or all in a folder and those below it, but for hidden ones.

    Raises:
        InputMissing: none there.
    """
    records = [place] if place.is_file() else sorted(place.rglob(f"*{RECORD}"))
    records = [each for each in records if not any(part.startswith(".") for part in each.relative_to(place).parts[:-1])]
    if not records:
        raise InputMissing(f"{place}: no record of a run (*{RECORD}); name the folder that agriseg run wrote")
    return records


@dataclass(frozen=True)
class ClippedMap(SameGrid):
    """A map of which only the pixels count whose centres lie in the `shapes`, polygons in its CRS; a `MaskSource`."""

    shapes: tuple[shapely.Geometry, ...]

    def strips(self, rows: int = ROWS) -> Iterator[MapStrip]:
        """From top to bottom, `rows` at a time."""
        return (self._within(strip) for strip in self.source.strips(rows))

    def read(self, start: int, stop: int) -> MapStrip:
        """Rows `[start, stop)`."""
        return self._within(self.source.read(start, stop))

    @cached_property
    def _in_pixels(self) -> list[shapely.Geometry]:
        return [moved(shape, ~self.georeference.transform) for shape in self.shapes]

    def _within(self, strip: MapStrip) -> MapStrip:
        shape, place = strip.mask.shape, rasterio.Affine.translation(0, strip.row_off)
        across = shapely.box(0, strip.rows.start, self.width, strip.rows.stop)
        here = [each for each in self._in_pixels if each.intersects(across)]
        inside = rasterize(here, shape, transform=place, dtype="uint8").astype(bool) if here else np.zeros(shape, bool)
        mask, confidence = (np.where(inside, each, NODATA).astype(np.uint8) for each in (strip.mask, strip.confidence))
        return MapStrip(strip.row_off, mask, confidence)
