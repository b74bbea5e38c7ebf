"""Vegetation indices of one raster, each a GeoTIFF of numbers with a style."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rasterio.enums import Resampling

from agriseg import files
from agriseg.errors import DataError, OutputError, UsageError
from agriseg.files import file_hash
from agriseg.json_text import json_document
from agriseg.maps.stem import INDEX, Stem
from agriseg.maps.versions import versions
from agriseg.raster.band_roles import ALPHA, check_numbers, find_bands, known_bands, listed, validity_hints
from agriseg.raster.cog import Layer, beside, write_cog
from agriseg.raster.header import RasterInfo
from agriseg.raster.identity import InputIdentity
from agriseg.raster.pixel_sample import Sample, take_sample
from agriseg.raster.qml import ramp_style
from agriseg.raster.reader import Reader, Source
from agriseg.raster.valid_mask import Use, ValidityRule, check_nodata
from agriseg.vectors.identity import content_hashes
from agriseg.vegetation.formulas import ROLES, Index, get_index
from agriseg.vegetation.index_rows import IndexRows, Summary
from agriseg.vegetation.reflectance import Units, doubts
from agriseg.vegetation.sensors import Sensor, get_sensor


@dataclass(frozen=True)
class IndexOptions:
    """What the user says of the raster.

    Args:
        bands: role to band number, with `alpha` for a validity band; None for what the file's tags say.
        sensor: name of the camera; it has the bands, unless `bands` is just alpha.
        scale: reflectance of one count of the stored numbers.
        nodata: means no data, beside what the file declares.
    """

    bands: Mapping[str, int] | None = None
    sensor: str | None = None
    scale: float | None = None
    nodata: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise UsageError(f"--scale {self.scale:g}, expected a number above 0, such as 0.0001")
        if unknown := [role for role in self.roles if role not in ROLES]:
            raise UsageError(f"--bands {unknown[0]}, expected roles of {', '.join((*ROLES, ALPHA))}")
        if self.sensor is not None and self.roles:
            raise UsageError(f"--sensor {self.sensor} and --bands with {', '.join(self.roles)}; give one of them")

    @property
    def roles(self) -> dict[str, int]:
        """Role to band number as the user has it, without alpha."""
        return {role: number for role, number in (self.bands or {}).items() if role != ALPHA}

    @property
    def alpha(self) -> tuple[int, ...]:
        """Bands that the user calls alpha."""
        return tuple(number for role, number in (self.bands or {}).items() if role == ALPHA)


@dataclass(frozen=True)
class IndexLayer:
    """One index on disk.

    Args:
        index: which.
        path, style: the GeoTIFF and QGIS's style.
        bands: role to band number.
        units: of the stored numbers.
        summary: of its numbers.
    """

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
            "offset": dict(zip(self.bands, self.units.offset, strict=True)), **self.summary.as_dict(),
        }  # fmt: skip


@dataclass(frozen=True)
class IndexReport:
    """What was made, and what to know before trusting it."""

    layers: tuple[IndexLayer, ...]
    warnings: tuple[str, ...]


def write_indices(
    image: Path, names: Sequence[str], folder: Path, options: IndexOptions | None = None, *, overwrite: bool = False
) -> IndexReport:
    """Write `<stem>_<index>.tif` (float32, NaN where there is no data) and `.qml` for each index; all or none.

    Args:
        image: the raster.
        names: of the indices.
        folder: of the outputs.
        options: what the user says of the raster.
        overwrite: whether what lies there already may be replaced.

    Raises:
        UsageError: an unknown or repeated index, a flag that does not fit the raster, an output that is the input.
        DataError: a band is missing, numbers are no reflectance, no pixel has a number, a block cannot be decoded.
        OutputError: an output exists.
        StorageError: the disk did not take it.
    """
    options = options or IndexOptions()
    indices = [get_index(name) for name in names]
    if repeated := [index.name for number, index in enumerate(indices) if index in indices[:number]]:
        raise UsageError(f"index {repeated[0]} is named twice; name it once")
    info = RasterInfo.read(image)
    making = _Making(info, options, indices)
    finals = [folder / f"{image.stem}_{index.name.lower()}.tif" for index in indices]
    stem = Stem(folder, image.stem)
    _check_outputs(image, finals, overwrite=overwrite)
    _check_others(stem, image, overwrite=overwrite)
    with _working(folder, image.stem) as working:
        made = [making.draft(index, final, working) for index, final in zip(indices, finals, strict=True)]
        info.check_unchanged()
        _publish(stem, image, made, working)
    return IndexReport(tuple(made), tuple(making.warnings))


def _publish(stem: Stem, image: Path, made: Sequence[IndexLayer], working: Path) -> None:
    """Give the layers their names, beside those of other indices of the same raster, and at last their record."""
    before = stem.told(INDEX)
    others = stem.vouched(INDEX) if stem.has_indices_of(image) else []
    others += [pam for path in others if (pam := beside(path)).name in before["outputs"]]
    drafts = [draft for layer in made if (draft := beside(working / layer.path.name)).exists()]
    new = [
        *(path for layer in made for path in (layer.path, layer.style)),
        *(stem.folder / draft.name for draft in drafts),
    ]
    stem.drop(INDEX, {*others, *new} if others else new)
    for layer in made:
        files.write_text(layer.style, ramp_style(layer.summary.low, layer.summary.high, greener=layer.index.greener))
        files.commit(working / layer.path.name, layer.path)
    for draft in drafts:
        files.commit(draft, stem.folder / draft.name)
    kept = {path.name: before["outputs"][path.name] for path in others if path not in new}
    told = {
        "format": 1,
        "input": {"path": str(image.resolve()), "files": InputIdentity.of(image).as_list()},
        "outputs": kept | {path.name: file_hash(path) for path in new},
        "contents": content_hashes([*others, *new]),
        "versions": versions(),
    }
    files.write_text(stem.path(INDEX), json_document(told))


class _Making:
    """A raster and how its bands are read, checked for all indices before the first is made."""

    def __init__(self, info: RasterInfo, options: IndexOptions, indices: Sequence[Index]) -> None:
        self._info = info
        if options.nodata is not None:
            check_nodata(options.nodata, info.dtype)
        camera = None if options.sensor is None else get_sensor(options.sensor)
        needed = [role for index in indices for role in index.roles]
        self._bands, self.warnings = _mapping(info, options, camera, needed)
        for index in indices:
            _require(info, index, self._bands)
        used = {role: self._bands[role] for index in indices for role in index.roles}
        self._rule = ValidityRule.of(info, nodata=options.nodata, alpha=options.alpha, use=Use.INDEX)
        sample = take_sample(self._source(tuple(used.values())))
        self.warnings += [*info.notes, *validity_hints(self._rule, sample)]
        self._units: dict[str, Units] = {}
        for index in indices:
            numbers = [self._bands[role] for role in index.roles]
            self._units[index.name] = units = Units.of(index, info, numbers, options.scale, camera)
            self.warnings += doubts(index, info, _of(sample, list(used), index), units)
        if options.scale is not None and info.tagged(used.values()):
            self.warnings.append(
                f"--scale {options.scale:g} takes the place of the scale and offset that the file says"
            )

    def draft(self, index: Index, final: Path, working: Path) -> IndexLayer:
        """Build the file of an index in the working folder, under its final name."""
        bands, units = {role: self._bands[role] for role in index.roles}, self._units[index.name]
        source = self._source(tuple(bands.values()))
        tags = {
            "AREA_OR_POINT": "Area", "AGRISEG_INDEX": index.name, "AGRISEG_INDEX_NAME": index.long_name,
            "AGRISEG_FORMULA": index.formula, "AGRISEG_REFERENCE": index.reference,
            "AGRISEG_BANDS": ",".join(f"{role}={number}" for role, number in bands.items()),
            "AGRISEG_SCALE": _tag(units.scale), "AGRISEG_OFFSET": _tag(units.offset),
        }  # fmt: skip
        layer = Layer(final.stem, self._info.georeference, (index.name,), Resampling.average, tags=tags)
        with Reader(source) as reader, ThreadPoolExecutor(1) as thread:
            rows = IndexRows(reader, source, thread, index, units)
            path, _ = write_cog(rows, layer, working, len(os.sched_getaffinity(0)))
        summary = Summary.of(path)
        if summary is None:
            raise DataError(f"{self._info.path}: {index.name} has a number at no pixel; is all of it nodata?")
        return IndexLayer(index, final, final.with_suffix(".qml"), bands, units, summary)

    def _source(self, bands: tuple[int, ...]) -> Source:
        return Source(self._info, bands, self._rule, self._info.width, self._info.height)


def _of(sample: Sample, roles: Sequence[str], index: Index) -> Sample:
    """What a sample of more bands shows of those of an index."""
    places = [roles.index(role) for role in index.roles]
    mean = None if sample.mean is None else tuple(sample.mean[place] for place in places)
    return replace(sample, highest=tuple(sample.highest[place] for place in places), mean=mean)


def _tag(numbers: Sequence[float]) -> str:
    """Numbers in the order of the bands; one if all are the same."""
    return ",".join(map(repr, numbers[:1] if len(set(numbers)) == 1 else numbers))


def _mapping(
    info: RasterInfo, options: IndexOptions, camera: Sensor | None, roles: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    """Role to band number, by the user or else by the file's tags; and what to say about it."""
    check_numbers(info, (options.bands or {}).items())
    if options.roles:
        return options.roles, _by_user(info, options)
    if camera is None:
        return find_bands(info, roles), []
    known = {role: numbers[0] for role, numbers in known_bands(info).items() if role in ROLES}
    hidden = {*info.alpha, *options.alpha}
    data = [number for number in range(1, info.count + 1) if number not in hidden]
    mapping = camera.mapping(data)
    said = [f"--sensor {camera.name}: {camera.caution}"] if camera.caution and not info.tagged(data) else []
    if len(data) > len(mapping):
        said.append(f"--sensor {camera.name} has {len(mapping)} bands, the file {len(data)}: are the first its own?")
    if at_odds := [role for role, number in mapping.items() if known.get(role, number) != number]:
        role = at_odds[0]
        said.append(f"--sensor {camera.name} has {role} as band {mapping[role]}, the file tags band {known[role]} so")
    return mapping, said


def _by_user(info: RasterInfo, options: IndexOptions) -> list[str]:
    """What to say about bands that the user has numbered."""
    return [
        f"band {number} is tagged alpha and is taken as {role}; where it is 0 there is no data"
        for role, number in options.roles.items()
        if number in info.alpha
    ]


def _require(info: RasterInfo, index: Index, bands: Mapping[str, int]) -> None:
    """Refuse an index whose bands are not there."""
    missing = [role for role in index.roles if role not in bands]
    if missing:
        example = ",".join(f"{role}={bands.get(role, '?')}" for role in index.roles)
        raise DataError(
            f"{info.path}: {index.name} needs {', '.join(index.roles)}; no band is known as {', '.join(missing)} among "
            f"{listed(info)}. Say which is which: --bands {example}, or --sensor"
        )


def _check_outputs(image: Path, finals: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse, before any work, what would overwrite something."""
    for path in (each for final in finals for each in (final, final.with_suffix(".qml"))):
        if not path.exists():
            continue
        if path.samefile(image):
            raise UsageError(f"{path}: the output is the input itself; choose another folder with -o")
        if path.is_dir():
            raise OutputError(f"{path}: a folder has the name of an output; choose another with -o")
        if not overwrite:
            raise OutputError(f"{path}: exists and is not overwritten; add --overwrite or choose another -o")


def _check_others(stem: Stem, image: Path, *, overwrite: bool) -> None:
    """Refuse to put indices beside those of the raster as it was before, unless these may go."""
    record = stem.path(INDEX)
    if record.exists() and not overwrite and not stem.has_indices_of(image):
        raise OutputError(
            f"{record}: the indices there are of another {image.name}; add --overwrite to replace them, or choose "
            "another folder with -o"
        )


@contextmanager
def _working(folder: Path, stem: str) -> Iterator[Path]:
    """A folder on the disk of the outputs; it goes whatever happens, and so does an output folder made for nothing."""
    made = not folder.exists()
    files.make_folder(folder)
    working = folder / f".{stem}.index"
    try:
        with files.locked(folder / f".{stem}.index.lock"):
            shutil.rmtree(working, ignore_errors=True)  # of a run that was killed
            files.make_folder(working)
            try:
                yield working
            finally:
                shutil.rmtree(working, ignore_errors=True)
    finally:
        if made and not any(folder.iterdir()):
            folder.rmdir()
