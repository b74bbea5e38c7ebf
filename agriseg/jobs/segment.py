"""One raster end to end: read, map, publish, record."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rasterio.enums import Resampling

from agriseg import files
from agriseg.config import Limits, RunOptions
from agriseg.engine.heap import release_heap, share_heap
from agriseg.engine.schedule import run_bands
from agriseg.engine.sweep import Sweep, Watch
from agriseg.errors import DataError, DeviceMemoryError, StorageError, Terminated
from agriseg.jobs.account import Account
from agriseg.jobs.outputs import Outputs, default_folder
from agriseg.jobs.prepare import Prepared, prepare, smaller
from agriseg.jobs.record import describe_run
from agriseg.jobs.verdict import Verdict, as_values, judge
from agriseg.jobs.working import Working
from agriseg.layers.area import Area
from agriseg.legend import CONFIDENCE_STEP, Legend
from agriseg.model import SegmentationModel, load_model
from agriseg.raster.cog import Layer, write_cog
from agriseg.raster.info import Georeference, Stamp
from agriseg.raster.reader import Reader
from agriseg.raster.sidecars import category_names, qgis_style
from agriseg.raster.store import BlockStore

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClassCount:
    """What the map shows of one class. `hectares` is None where the ground is unknown."""

    id: int
    name: str
    pixels: int
    hectares: float | None


@dataclass(frozen=True)
class Report:
    """What a run made.

    Args:
        classes: the mask, uint8, 255 nodata.
        confidence: uint8, steps of 0.004, 255 nodata.
        probabilities: uint8, one band per class, or None.
        record: the JSON record.
        pixels: account with total = predicted + nodata + failed.
        counts: per class.
        tiles: tiles that went through the network; the others held no data.
        warnings: what a reader should know before trusting the map.
        verdict: its colour (green, amber, red), the reasons, and what was measured.
        files: all that was written, the record last.
    """

    classes: Path
    confidence: Path
    probabilities: Path | None
    record: Path
    pixels: dict[str, int]
    counts: tuple[ClassCount, ...]
    tiles: int
    warnings: tuple[str, ...]
    verdict: dict[str, Any]
    files: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "files": [str(path) for path in self.files],
            "pixels": self.pixels,
            "classes": [asdict(count) for count in self.counts],
            "tiles_run": self.tiles,
            "warnings": list(self.warnings),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Standard:
    """Which maps may be published.

    Args:
        limits: of the verdict.
        refused: colours of maps that may not.
        quarantine: folder for these.
    """

    limits: Limits = field(default_factory=Limits)
    refused: tuple[str, ...] = ()
    quarantine: Path | None = None


def segment(
    image: Path | str,
    model: SegmentationModel | Path | str,
    out: Path | str | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **flags: Any,
) -> Report:
    """Map a raster.

    Args:
        image: the raster.
        model: a model or its file.
        out: folder of the outputs; `<stem>_agriseg` in the current one if None.
        overwrite: replace outputs that exist.
        progress: called with tiles done and tiles in all.
        flags: fields of `RunOptions`, as numbers or as people write them.

    Returns:
        The outputs' paths and what they hold. They exist only when they are complete and verified.

    Raises:
        AgrisegError: its children say what went wrong; nothing is left half-written.
    """
    options = RunOptions.of(**flags)
    image = Path(image)
    folder = default_folder(image) if out is None else Path(out)
    outputs = Outputs(folder, image.stem, options.probabilities, overwrite)
    outputs.check(image)
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    return run(prepare(image, model, options), outputs, progress)


def run(
    prepared: Prepared, outputs: Outputs, progress: Progress | None = None, watch: Watch | None = None, *,
    resume: bool = True, standard: Standard = Standard(),
) -> Report:  # fmt: skip
    """Map a prepared raster; see `segment`. A map that the standard refuses is published in its quarantine.

    When the device's memory holds not even one tile, tiles become smaller, or the CPU takes over, as far as the user
    has left that open. `watch` is shown the logits that decide, each once, so it takes up no earlier run.
    """
    share_heap()
    while True:
        try:
            return _run(prepared, outputs, progress or _silent, watch, standard, resume=resume and watch is None)
        except DeviceMemoryError as error:
            if watch is not None:
                raise
            prepared = smaller(prepared, error)


def _run(
    prepared: Prepared, outputs: Outputs, progress: Progress, watch: Watch | None, standard: Standard, *, resume: bool
) -> Report:  # fmt: skip
    began = time.monotonic()
    plan, legend = prepared.plan, prepared.model.legend
    with _working(prepared, outputs, resume=resume) as working:
        if working.finished:
            return _report(outputs, json.loads(outputs.record.read_text("utf-8")))
        account, said = _map(prepared, working, progress, watch)
        release_heap()
        mapped = time.monotonic()
        pixels = account.pixels(plan.roi.width * plan.roi.height)
        verdict = judge(prepared, pixels, account.doubtful, standard.limits)
        outputs = _place(outputs, standard, verdict)
        finished = [_publish(working.store, layer, pixels) for layer in _layers(prepared, prepared.georeference)]
        outputs.record.unlink(missing_ok=True)  # of an older map: it vouches for files that are about to go
        working.publishing()
        for path in finished:
            files.commit(path, outputs.layer(path.stem))
        files.write_text(outputs.style, qgis_style(legend))
        files.write_text(outputs.categories, category_names(legend))
        outcome = {
            "pixels": pixels,
            "classes": [asdict(count) for count in _counts(legend, account.area)],
            "lost_windows": account.lost_windows,
            "tiles_run": account.tiles,
            "verdict": as_values(verdict),
            "warnings": [*prepared.warnings, *said, *account.warnings],
            "seconds": {"map": round(mapped - began, 3), "publish": round(time.monotonic() - mapped, 3)},
        }
        files.write_text(outputs.record, describe_run(prepared, outcome, outputs.files[:-1]))
    return _report(outputs, outcome)


def _place(outputs: Outputs, standard: Standard, verdict: Verdict) -> Outputs:
    """Where a map goes that is thought of like that."""
    if standard.quarantine is None or verdict.colour not in standard.refused:
        return outputs
    files.make_folder(standard.quarantine)
    return replace(outputs, folder=standard.quarantine)


def _report(outputs: Outputs, outcome: dict[str, Any]) -> Report:
    """What a finished run has found, as its record has it."""
    return Report(
        outputs.layer("classes"), outputs.layer("confidence"),
        outputs.layer("probabilities") if outputs.with_probabilities else None,
        outputs.record, outcome["pixels"], tuple(ClassCount(**entry) for entry in outcome["classes"]),
        outcome["tiles_run"], tuple(outcome["warnings"]), outcome["verdict"], tuple(outputs.files),
    )  # fmt: skip


def _map(prepared: Prepared, working: Working, progress: Progress, watch: Watch | None) -> tuple[Account, list[str]]:
    """Run the bands that are not done; returns what the map came to, and what to say about the way there."""
    plan, info = prepared.plan, prepared.info
    finished = sum(len(band.tiles) for band in plan.bands()[: working.first]) * len(plan.tile_cols)

    def tell(tiles: int) -> None:
        nonlocal finished
        finished += tiles
        progress(finished, plan.tiles)

    sweep = Sweep(plan, prepared.model, prepared.forward, tell, working.answers, watch)
    with Reader(prepared.contract.source) as reader:
        for _ in run_bands(
            working.bands(), lambda band: reader.read(plan.strip(band)), sweep.run, working.write,
            prepared.options.threads,
        ):  # fmt: skip
            pass
    if not info.path.exists() or Stamp.of(info.path) != info.stamp:
        raise DataError(f"{info.path}: changed while it was read; run again when it is complete")
    fewer = f"the device's memory held {sweep.batch} tiles at a time instead of {plan.batch}"
    return working.account(), [fewer] if sweep.batch < plan.batch else []


@contextmanager
def _working(prepared: Prepared, outputs: Outputs, *, resume: bool) -> Iterator[Working]:
    """The working folder: kept for the next run if this one is stopped, or fails when some outputs have their names.

    Otherwise it goes, and so does a folder made for nothing.
    """
    made = not outputs.folder.exists()
    files.make_folder(outputs.folder)
    try:
        with files.locked(outputs.lock):
            if not outputs.working.exists():
                outputs.require_space(prepared.plan.least_disk(len(prepared.model.legend)))
            working = Working(prepared, outputs, resume=resume)
            through = stopped = False
            try:
                if outputs.record.exists() and not (outputs.overwrite or working.finished):
                    raise outputs.exists(outputs.record)  # of a run of another kind that was killed when it was through
                yield working
                through = True
            except (KeyboardInterrupt, Terminated):
                stopped = True
                raise
            finally:
                if through or not (stopped or working.is_publishing):
                    working.remove()
    finally:
        if made:
            with suppress(OSError):  # it holds something
                outputs.folder.rmdir()


def _publish(store: BlockStore, layer: Layer, pixels: dict[str, int]) -> Path:
    """A verified file whose nodata pixels are those of the account."""
    path, nodata = write_cog(store, layer)
    expected = pixels["nodata"] + pixels["failed"]
    if nodata != expected:
        raise StorageError(f"{path.name}: {nodata} pixels without data, expected {expected}; check the disk")
    return path


def _layers(prepared: Prepared, where: Georeference) -> list[Layer]:
    """How each layer becomes a file."""
    model = prepared.model
    names = {f"CLASS_{entry.id}": entry.name for entry in model.legend}
    tags = {"AREA_OR_POINT": "Area", "AGRISEG_MODEL": model.name, "AGRISEG_MODEL_FINGERPRINT": model.fingerprint}
    layers = [
        Layer("classes", where, ("class",), Resampling.mode, model.legend.colormap, tags=tags, band_tags=names),
        Layer("confidence", where, ("confidence",), Resampling.average, scale=CONFIDENCE_STEP, tags=tags),
    ]
    if "probabilities" in prepared.plan.layers:
        bands = model.legend.names
        layers.append(Layer("probabilities", where, bands, Resampling.average, scale=CONFIDENCE_STEP, tags=tags))
    return layers


def _counts(legend: Legend, area: Area) -> tuple[ClassCount, ...]:
    hectares = area.hectares
    return tuple(
        ClassCount(
            entry.id, entry.name, int(area.pixels[entry.id]), None if hectares is None else float(hectares[entry.id])
        )
        for entry in legend
    )


def _silent(_done: int, _total: int) -> None:
    pass
