"""The header of a raster, read once."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags

from agriseg.errors import DataError
from agriseg.raster.gdal_env import BLOCK_CACHE_BYTES, gdal_calls
from agriseg.raster.georeference import Georeference
from agriseg.raster.identity import FileStamp, raster_files
from agriseg.raster.safe_open import check_regular, open_raster
from agriseg.raster.tags import orientation

_TALL_BLOCK = 1024  # rows; lower blocks are decoded twice at most


@dataclass(frozen=True)
class RasterInfo:
    """The header of a raster.

    Args:
        stamp: state of the file and of those beside it when the header was read.
        driver: GDAL's name of the format.
        count: bands.
        dtype: numpy name of the pixels' type.
        descriptions, colours, nodata: per band; colours are GDAL's colour interpretations.
        scales, offsets: per band: value = stored * scale + offset; 1 and 0 where the file has none.
        file_mask: whether an internal mask or a .msk file says which pixels are valid.
        block: rows and columns of a stored block.
        orientation: how viewers turn the file, 1 as stored, 2 to 8 otherwise; agriseg does not turn it.
        notes: GDAL's warnings, and oddities of the file.
    """

    path: Path
    stamp: FileStamp
    driver: str
    width: int
    height: int
    count: int
    dtype: str
    georeference: Georeference
    descriptions: tuple[str | None, ...]
    colours: tuple[ColorInterp, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    file_mask: bool
    block: tuple[int, int]
    orientation: int
    notes: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "RasterInfo":
        """Read the header of a file; errors as of `open_raster`, DataError also for bands of several types."""
        failure = f"{path}: damaged, its header cannot be read; copy it again"
        paths = raster_files(path)
        for each in (path, *paths):  # GDAL leaves out what it may not read, without a warning
            check_regular(each)
        stamp = FileStamp.of_files(paths)  # first: a later change of a file changes it
        with gdal_calls(failure) as messages, open_raster(path) as dataset:
            # First: rasterio raises here what GDAL has warned about before.
            colours = dataset.colorinterp
            flags = dataset.mask_flag_enums[0]
            points, gcp_crs = dataset.gcps
            return cls(
                path=path,
                stamp=stamp,
                driver=dataset.driver,
                width=dataset.width,
                height=dataset.height,
                count=dataset.count,
                dtype=_one_dtype(path, dataset),
                georeference=Georeference(dataset.crs, dataset.transform, tuple(points), gcp_crs),
                descriptions=dataset.descriptions,
                colours=colours,
                nodata=dataset.nodatavals,
                scales=tuple(dataset.scales),
                offsets=tuple(dataset.offsets),
                file_mask=MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags,
                block=dataset.block_shapes[0],
                orientation=orientation(path),
                notes=(*messages, *_notes(path, dataset)),
            )

    def check_unchanged(self) -> None:
        """Raise DataError if the raster, or a file that GDAL opens with it, has changed since the header was read."""
        if not self.path.exists() or FileStamp.of(self.path) != self.stamp:
            raise DataError(f"{self.path}: changed while it was read; run again when it is complete")

    @property
    def alpha(self) -> tuple[int, ...]:
        """Numbers of the bands tagged alpha, from 1."""
        return tuple(i for i, colour in enumerate(self.colours, 1) if colour == ColorInterp.alpha)

    def tagged(self, bands: Iterable[int]) -> bool:
        """Whether one of these bands has a scale or an offset."""
        return any((self.scales[band - 1], self.offsets[band - 1]) != (1, 0) for band in bands)

    @property
    def item_bytes(self) -> int:
        """Bytes of one pixel of one band."""
        return np.dtype(self.dtype).itemsize

    @property
    def cache_bytes(self) -> int:
        """Cache of decoded blocks with which overlapping reads do not decode tall ones again."""
        if self.block[0] <= _TALL_BLOCK:
            return BLOCK_CACHE_BYTES
        across = -(-self.width // self.block[1]) * self.block[1]
        return max(BLOCK_CACHE_BYTES, 2 * self.block[0] * across * self.count * self.item_bytes)

    @cached_property
    def gsd(self) -> tuple[float, float] | None:
        """Metres per pixel along a row and along a column; None where unknown."""
        return self.georeference.gsd(self.width, self.height)


def _one_dtype(path: Path, dataset: rasterio.DatasetReader) -> str:
    kinds = set(dataset.dtypes)
    if len(kinds) > 1:
        raise DataError(
            f"{path}: bands of {', '.join(sorted(kinds))}, expected one type; convert with gdal_translate -ot"
        )
    return str(dataset.dtypes[0])


def _notes(path: Path, dataset: rasterio.DatasetReader) -> list[str]:
    """Oddities that change what a reader may expect of the map."""
    notes = []
    if len(dataset.subdatasets) > 1:
        notes.append(f"the file has {len(dataset.subdatasets)} pages; only the first is read")
    if dataset.crs is None and dataset.gcps[0]:
        notes.append("only ground control points, no transform: the map carries the same points")
    elif dataset.crs is None:
        notes.append("no coordinate reference system: the map has none either, and no area in hectares")
    if dataset.rpcs is not None:
        notes.append("rational polynomials (RPC) are not carried over to the map")
    if (turned := orientation(path)) != 1:
        notes.append(
            f"the orientation tag ({turned}) is ignored: rows and columns stay as stored, viewers show them turned; "
            "mogrify -auto-orient turns the file itself"
        )
    return notes
