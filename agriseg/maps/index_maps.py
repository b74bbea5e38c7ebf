"""Vegetation indices of a raster, each a GeoTIFF of float32 numbers with a QGIS style."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rasterio.enums import Resampling

from agriseg import files
from agriseg.errors import DataError, OutputError, UsageError
from agriseg.maps.index_source import IndexSource
from agriseg.maps.publish import commit_drafts, draft_folder
from agriseg.maps.stem import INDEX, Stem
from agriseg.options.index import IndexOptions
from agriseg.raster.cog import Layer, beside, write_cog
from agriseg.raster.header import RasterInfo
from agriseg.raster.identity import InputIdentity
from agriseg.raster.qml import ramp_style
from agriseg.raster.reader import Reader
from agriseg.vegetation.formulas import Index, get_index
from agriseg.vegetation.index_rows import IndexRows, Summary
from agriseg.vegetation.reflectance import Units


@dataclass(frozen=True)
class IndexLayer:
    """One index on disk."""

    index: Index
    path: Path
    style: Path
    bands: Mapping[str, int]
    units: Units
    summary: Summary

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "index": self.index.name, "formula": self.index.formula, "path": str(self.path), "style": str(self.style),
            "bands": dict(self.bands), "scale": dict(zip(self.bands, self.units.scale, strict=True)),
            "offset": dict(zip(self.bands, self.units.offset, strict=True)), **asdict(self.summary),
        }  # fmt: skip


@dataclass(frozen=True)
class IndexReport:
    """The layers that were written, and warnings about them."""

    layers: tuple[IndexLayer, ...]
    warnings: tuple[str, ...]


def write_indices(
    image: Path, names: Sequence[str], folder: Path, options: IndexOptions | None = None, *, overwrite: bool = False
) -> IndexReport:
    """Write `<stem>_<index>.tif` (float32, NaN where there is no data) and `.qml` for each index; all or none.

    Indices of the same raster that are in the folder stay beside them.

    Raises:
        UsageError: an unknown or repeated index, an option that does not fit the raster, an output that is the input.
        DataError: a band is missing, numbers are no reflectance, no pixel has a number, a block cannot be decoded.
        OutputError: an output exists.
        StorageError: the disk did not take it.
    """
    indices = [get_index(name) for name in names]
    if repeated := [index.name for number, index in enumerate(indices) if index in indices[:number]]:
        raise UsageError(f"index {repeated[0]} is named twice; name it once")
    source = IndexSource.of(RasterInfo.read(image), options or IndexOptions(), indices)
    stem = Stem(folder, image.stem)
    _check_outputs(stem, image, indices, overwrite=overwrite)
    with draft_folder(stem, INDEX, stem.folder / f".{stem.name}.index.lock") as drafts:
        layers = tuple(_write_drafts(source, index, stem, drafts) for index in indices)
        source.info.check_unchanged()
        facts = {
            "input": {"path": str(image.resolve()), "files": [asdict(each) for each in InputIdentity.of(image).files]}
        }
        commit_drafts(stem, INDEX, drafts, facts, _kept(stem, image))
    return IndexReport(layers, source.warnings)


def _write_drafts(source: IndexSource, index: Index, stem: Stem, folder: Path) -> IndexLayer:
    """Write the GeoTIFF and the style of an index into a folder, under their final names."""
    bands, units = source.bands_of(index), source.units[index.name]
    path, style = _names(stem, index)
    layer = Layer(
        path.stem, source.info.georeference, (index.name,), Resampling.average, tags=_tags(index, bands, units)
    )
    pixels = source.source(index)
    with Reader(pixels) as reader, ThreadPoolExecutor(1) as thread:
        rows = IndexRows(reader, pixels, thread, index, units)
        draft, _ = write_cog(rows, layer, folder, len(os.sched_getaffinity(0)))
    summary = Summary.of(draft)
    if summary is None:
        raise DataError(f"{source.info.path}: {index.name} has a number at no pixel; is all of it nodata?")
    files.write_text(folder / style.name, ramp_style(summary.low, summary.high, greener=index.greener))
    return IndexLayer(index, path, style, bands, units, summary)


def _names(stem: Stem, index: Index) -> tuple[Path, Path]:
    """The GeoTIFF and the style of an index."""
    path = stem.path(f"_{index.name.lower()}.tif")
    return path, path.with_suffix(".qml")


def _tags(index: Index, bands: Mapping[str, int], units: Units) -> dict[str, str]:
    return {
        "AREA_OR_POINT": "Area", "AGRISEG_INDEX": index.name, "AGRISEG_INDEX_NAME": index.long_name,
        "AGRISEG_FORMULA": index.formula, "AGRISEG_REFERENCE": index.reference,
        "AGRISEG_BANDS": ",".join(f"{role}={number}" for role, number in bands.items()),
        "AGRISEG_SCALE": _tag(units.scale), "AGRISEG_OFFSET": _tag(units.offset),
    }  # fmt: skip


def _tag(numbers: Sequence[float]) -> str:
    """Numbers in the order of the bands; one number if all are the same."""
    return ",".join(map(repr, numbers[:1] if len(set(numbers)) == 1 else numbers))


def _kept(stem: Stem, image: Path) -> dict[str, str]:
    """Files of other indices of the same raster, by name, with the hashes of their record."""
    if not stem.has_indices_of(image):
        return {}
    hashes = stem.hashes(INDEX)
    paths = stem.vouched(INDEX)
    names = [path.name for path in [*paths, *map(beside, paths)]]
    return {name: hashes[name] for name in names if name in hashes}


def _check_outputs(stem: Stem, image: Path, indices: Sequence[Index], *, overwrite: bool) -> None:
    """Refuse, before any work, to overwrite a file, or to put indices beside those of a former state of the raster."""
    for path in (path for index in indices for path in _names(stem, index)):
        if not path.exists():
            continue
        if path.samefile(image):
            raise UsageError(f"{path}: the output is the input itself; choose another folder with -o")
        if path.is_dir():
            raise OutputError(f"{path}: a folder has the name of an output; choose another with -o")
        if not overwrite:
            raise files.exists_error(path)
    record = stem.path(INDEX)
    if record.exists() and not overwrite and not stem.has_indices_of(image):
        raise OutputError(
            f"{record}: the indices there are of another {image.name}; add --overwrite to replace them, or choose "
            "another folder with -o"
        )
