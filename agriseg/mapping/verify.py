"""Checks finished maps against their records.

The checks are the hashes of the files, every block and overview, the pixel counts, and a random sample of tiles that
go through the network again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from agriseg.errors import DataError, DeviceError
from agriseg.files import file_hash
from agriseg.grid import Window, intersection
from agriseg.inference.predict import TilePredictor
from agriseg.legend import NODATA
from agriseg.mapping.prepare import MappingJob, prepare
from agriseg.mapping.record import identity_of
from agriseg.maps.reader import find_records
from agriseg.maps.record import RECORD, RunRecord, read_json
from agriseg.maps.run_identity import RunIdentity
from agriseg.maps.stem import CHANGE, INDEX, LAYERS, Stem
from agriseg.model import load_model
from agriseg.options.run import RunOptions
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.identity import InputIdentity, files_beside
from agriseg.raster.reader import Reader
from agriseg.raster.safe_open import open_raster
from agriseg.vectors.identity import file_content

_SAME_MACHINE = 0.0
_OTHER_MACHINE = 1e-3
"""Share of a tile's pixels that may differ with another version, device or number of threads."""
_ROWS = 512  # read at once


@dataclass(frozen=True)
class VerifyResult:
    """The check of a file, the pixel counts or a tile; `wrong` says what is not as recorded, None if all is well."""

    what: str
    wrong: str | None = None


def verify(
    folder: Path, *, image: Path | None = None, model: Path | None = None, tiles: int = 4, seed: int = 0
) -> Iterator[VerifyResult]:
    """Check every map in a folder against its record; yields each result as soon as it is known.

    Args:
        folder: of the outputs of `agriseg run`, or one record in it.
        image, model: where the input and the model are now, if not where the record says.
        tiles: how many to run again; 0 reads files alone.

    Raises:
        InputMissing: no record there.
        DataError: a record that cannot be read.
    """
    for path in find_records(folder):
        record = RunRecord.read(path)
        damaged = False
        for finding in _files(path, record.outputs, record.contents):
            damaged |= finding.wrong is not None
            yield finding
        unknown = "no record vouches for it, it may be of an older map; make it again, or move it away"
        yield from (VerifyResult(str(stray), unknown) for stray in Stem.of(path).strays())
        if damaged:
            continue  # counts and tiles of damaged files say nothing
        stem = path.name.removesuffix(RECORD)
        yield _pixel_counts(path.with_name(f"{stem}_classes.tif"), record)
        yield from _made_of(path, record)
        if tiles:
            yield from _tiles(path, record, image, model, tiles, seed)


def _made_of(run: Path, record: RunRecord) -> Iterator[VerifyResult]:
    """The files of layers, changes and indices, and whether they were made from the present map and raster."""
    run_hash = file_hash(run)
    sources = (
        (LAYERS, "run", "sha256", run_hash, "are of an earlier run"),
        (CHANGE, "later", "sha256", run_hash, "are of an earlier run"),
        (
            INDEX,
            "input",
            "files",
            [asdict(each) for each in record.input.files],
            "are not of the raster that was mapped",
        ),
    )
    for end, source, name, expected, wrong in sources:
        path = Stem.of(run).path(end)
        if path.is_file():
            values = read_json(path)
            yield from _files(path, values["outputs"], values["contents"])
            same = values[source].get(name) == expected
            yield VerifyResult(f"{path}: belongs to {run.name}", None if same else f"{wrong}; make them again")


def _files(path: Path, outputs: Mapping[str, str], contents: Mapping[str, str]) -> Iterator[VerifyResult]:
    """Each file of a record: there, unchanged, and readable in every block and overview."""
    for name, sha256 in outputs.items():
        file = path.with_name(Path(name).name)
        if not file.is_file():
            yield VerifyResult(str(file), "is gone")
        elif name in contents:
            yield _content(file, sha256, contents[name])
        elif file_hash(file) != sha256:
            yield VerifyResult(str(file), "is not what was written: its SHA-256 is another")
        elif file.suffix == ".tif":
            yield from _strangers(file, outputs)
            try:
                levels = _read_all(file)
                yield VerifyResult(f"{file}: every block, {levels} overviews")
            except DataError as error:
                yield VerifyResult(str(file), str(error))
        else:
            yield VerifyResult(str(file))


def _content(file: Path, sha256: str, content: str) -> VerifyResult:
    """A file that viewers write to when they open it; its content for the map must be the recorded one."""
    if file_content(file) != content:
        return VerifyResult(str(file), "does not say what was written: another legend, place, scale or feature")
    return VerifyResult(
        str(file) if file_hash(file) == sha256 else f"{file}: written to by a viewer, and says the same"
    )


def _strangers(raster: Path, outputs: Mapping[str, str]) -> Iterator[VerifyResult]:
    """Files beside a layer that are in no record and that GDAL reads with it."""
    for each in files_beside(raster):
        if each.name not in outputs and file_content(each) is not None:
            yield VerifyResult(str(each), f"is none of the run's, and is read with {raster.name}; move it away")


def _read_all(path: Path) -> int:
    """Decode every block of every level; returns the number of overviews."""
    with gdal_calls(f"{path}: cannot be read"):
        with open_raster(path) as dataset:
            levels = len(dataset.overviews(1))
        for level in (None, *range(levels)):
            with open_raster(path, **({} if level is None else {"overview_level": level})) as dataset:
                for _ in _strips(dataset):
                    pass
    return levels


def _strips(dataset: rasterio.DatasetReader) -> Iterator[NDArray[np.uint8]]:
    for row in range(0, dataset.height, _ROWS):
        height = min(_ROWS, dataset.height - row)
        yield dataset.read(window=rasterio.windows.Window(0, row, dataset.width, height))


def _pixel_counts(classes: Path, record: RunRecord) -> VerifyResult:
    """Pixels of each class and without data, counted again."""
    counts = np.zeros(256, np.int64)
    with open_raster(classes) as dataset:
        for rows in _strips(dataset):
            counts += np.bincount(rows.ravel(), minlength=256)
    pixels = record.pixels
    expected = np.zeros(256, np.int64)
    for entry in record.classes:
        expected[entry.id] = entry.pixels
    expected[NODATA] = pixels.nodata + pixels.failed
    what = f"{classes}: the account of {pixels.total:,} pixels"
    if pixels.total != pixels.predicted + expected[NODATA] or pixels.predicted != expected[:NODATA].sum():
        return VerifyResult(what, "the record's own numbers do not add up")
    if not np.array_equal(counts, expected):
        value = int(np.flatnonzero(counts != expected)[0])
        return VerifyResult(what, f"{counts[value]:,} pixels of value {value}, the record says {expected[value]:,}")
    return VerifyResult(what)


def _tiles(
    path: Path, record: RunRecord, image: Path | None, model: Path | None, count: int, seed: int
) -> Iterator[VerifyResult]:
    """Predict some tiles again, and compare the classes."""
    image = image or Path(record.input.path)
    if (wrong := _other_input(image, record)) is not None:
        yield VerifyResult(str(image), wrong)
        return
    known = model or (record.model.path and Path(record.model.path))
    if not known:
        yield VerifyResult("the model", "the record does not say where it was; name it with -m")
        return
    loaded = load_model(known)
    if loaded.fingerprint != record.model.fingerprint:
        yield VerifyResult(str(known), "is not the model that made the map; say where that is with -m")
        return
    options = _options(record)
    try:
        prepared = prepare(image, loaded, options)
    except DeviceError:  # of another machine
        prepared = prepare(image, loaded, replace(options, device="auto"))
    then, now = RunIdentity.of_record(record), identity_of(prepared)
    if change := then.difference(now):
        yield VerifyResult(str(image), f"would be run with another {change} today")
        return
    allowed = _SAME_MACHINE if then.is_same_machine(now) else _OTHER_MACHINE
    stem = path.name.removesuffix(RECORD)
    for window in _drawn(prepared, count, seed):
        yield _again(prepared, window, path.with_name(f"{stem}_classes.tif"), allowed)


def _other_input(image: Path, record: RunRecord) -> str | None:
    """How the raster or a file beside it differs from what was mapped; None if it does not."""
    if not image.is_file() or file_hash(image) != record.input.sha256:
        return "is not the raster that was mapped; say where that is with --input"
    odd = InputIdentity.of(image).differs(record.input.identity)
    return odd and f"{odd} beside it is not what it was when it was mapped; put it back, or map the raster again"


def _options(record: RunRecord) -> RunOptions:
    """The options of the run, with the tiles that the plan chose."""
    how = record.parameters
    numbered = record.run_options.with_tiles(how.tile_px, how.overlap_px, how.margin_px)
    return replace(numbered, batch=how.batch, max_memory=None)


def _drawn(prepared: MappingJob, count: int, seed: int) -> list[Window]:
    """Windows of random tiles on the working grid, with the pixels that they share with their neighbours."""
    plan = prepared.plan
    places = [(row, col) for row in plan.tile_rows for col in plan.tile_cols]
    chosen = np.random.default_rng(seed).choice(len(places), size=min(count, len(places)), replace=False)
    parts = []
    for row, col in (places[index] for index in sorted(chosen)):
        (top, bottom), (left, right) = plan.grid.rows.footprint(row), plan.grid.cols.footprint(col)
        parts.append(intersection(Window(left, top, right - left, bottom - top), plan.roi))
    return [part for part in parts if part]


def _again(prepared: MappingJob, window: Window, classes: Path, allowed: float) -> VerifyResult:
    """Predict one window again and compare it with the map."""
    plan = replace(prepared.plan, roi=window)
    predictor = TilePredictor(plan, prepared.model, prepared.backend)
    carry, parts = None, []
    with Reader(prepared.model_input.source) as reader:
        for band in plan.bands():
            decided = predictor.run(band, reader.read(plan.read_window(band)), carry)
            carry = decided.carry
            parts.append(prepared.mapped(decided.layers["classes"][0], decided.layers["confidence"][0]))
    fresh = np.concatenate(parts)
    roi = prepared.plan.roi
    col, row = window.col_off - roi.col_off, window.row_off - roi.row_off
    with open_raster(classes) as dataset:
        kept = dataset.read(1, window=rasterio.windows.Window(col, row, window.width, window.height))
    wrong = int(np.count_nonzero(fresh != kept))
    what = f"{classes}: {Window(col, row, window.width, window.height)}, run again"
    if wrong <= allowed * fresh.size and np.array_equal(fresh == NODATA, kept == NODATA):
        return VerifyResult(what if allowed == _SAME_MACHINE else f"{what} (on another machine: {wrong} pixels differ)")
    return VerifyResult(what, f"{wrong:,} of {fresh.size:,} pixels are of another class")
