"""What a raster says about itself, read once from its header."""

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
        path: the file.
        stamp: its state, and that of the files beside it, when the header was read.
        driver: GDAL's name of the format.
        width, height: pixels.
        count: bands.
        dtype: numpy name of the pixels' type.
        georeference: CRS and transform.
        descriptions: per band, may be None.
        colours: colour interpretation per band.
        nodata: declared value per band, may be None.
        scales, offsets: per band, as the file says them: value = stored * scale + offset. 1 and 0 say nothing.
        file_mask: whether an internal mask or a .msk file says which pixels are valid.
        block: rows and columns of a stored block.
        orientation: how the file wants to be turned, 1 as stored, 2 to 8 otherwise; nothing here turns it.
        notes: what GDAL warned about, and oddities of the file.
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
        """Open the file through the door and read its header.

        Raises:
            AgrisegError: as `door.open_raster`; DataError also for pixels that are no real numbers.
        """
        failure = f"{path}: damaged, its header cannot be read; copy it again"
        paths = raster_files(path)
        for each in (path, *paths):  # GDAL would leave out what it may not read, without a word
            check_regular(each)
        stamp = FileStamp.of_files(paths)  # first: what is written from now on makes another of it
        with gdal_calls(failure) as heard, open_raster(path) as dataset:
            # First: whatever GDAL grumbled about before, rasterio raises here.
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
                notes=(*heard, *_notes(path, dataset)),
            )

    def check_unchanged(self) -> None:
        """Refuse a raster that was written while it was read, or a file beside it that GDAL opens for it.

        Raises:
            DataError: it is not what it was when its header was read, or is gone.
        """
        if not self.path.exists() or FileStamp.of(self.path) != self.stamp:
            raise DataError(f"{self.path}: changed while it was read; run again when it is complete")

    @property
    def alpha(self) -> tuple[int, ...]:
        """Numbers of the bands tagged alpha, from 1."""
        return tuple(i for i, colour in enumerate(self.colours, 1) if colour == ColorInterp.alpha)

    def tagged(self, bands: Iterable[int]) -> bool:
        """Whether the file says a scale or an offset of one of these bands."""
        return any((self.scales[band - 1], self.offsets[band - 1]) != (1, 0) for band in bands)

    @property
    def item_bytes(self) -> int:
        """Bytes of one pixel of one band."""
        return np.dtype(self.dtype).itemsize

    @property
    def cache_bytes(self) -> int:
        """What GDAL should keep of decoded blocks, so that overlapping reads do not decode tall ones again."""
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
