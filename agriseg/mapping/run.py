"""Maps one raster: read, predict, publish, record."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agriseg import files
from agriseg.errors import DeviceMemoryError, Terminated, WorkerLost
from agriseg.inference.malloc import release_heap, set_up_heap
from agriseg.inference.predict import LogitsObserver
from agriseg.inference.workers import WorkerPool
from agriseg.mapping.distribute import BandDistribution
from agriseg.mapping.local import run_local
from agriseg.mapping.outputs import ALONE, Outputs
from agriseg.mapping.prepare import MappingJob, with_less_memory
from agriseg.mapping.products import write_products
from agriseg.mapping.record import RunOutcome, describe_run, identity_of, limits_of, verdict_input
from agriseg.mapping.working_folder import WorkingFolder
from agriseg.maps.publish import PublishedFiles
from agriseg.maps.record import ClassCount, PixelTotals, RunRecord, RunSeconds
from agriseg.maps.stem import Stem
from agriseg.options.verdict import PublishPolicy
from agriseg.raster.header import RasterInfo
from agriseg.raster.identity import InputIdentity
from agriseg.storage.base import FolderStorage, Storage, storage_at
from agriseg.timing.stages import Stage, StageClock
from agriseg.verdict import Verdict, assess

Progress = Callable[[int, int], None]
_ANY_MAP = PublishPolicy()


@dataclass(frozen=True)
class RunReport:
    """The result of a run.

    Args:
        classes: the mask, uint8, 255 nodata.
        confidence: uint8, steps of 0.004, 255 nodata.
        probabilities: uint8, one band per class, or None.
        tiles: tiles that went through the network; the others held no data.
        verdict: colour (green, amber, red), reasons and measurements.
        seam_ratio: how much more often the class changes where tiles meet; None without seams or changes.
        files: all files of the map, the record last.
        seconds: where the time went.
        exports: the report first.
    """

    classes: Path
    confidence: Path
    probabilities: Path | None
    record: Path
    pixels: PixelTotals
    counts: tuple[ClassCount, ...]
    tiles: int
    warnings: tuple[str, ...]
    verdict: Verdict
    seam_ratio: float | None
    files: tuple[Path, ...]
    seconds: RunSeconds
    layers: PublishedFiles | None = None
    exports: tuple[Path, ...] = ()

    @classmethod
    def of(cls, outputs: Outputs, record: RunRecord) -> "RunReport":
        """The result of a finished run."""
        return cls(
            classes=outputs.named("classes.tif"),
            confidence=outputs.named("confidence.tif"),
            probabilities=outputs.named("probabilities.tif") if outputs.with_probabilities else None,
            record=outputs.record,
            pixels=record.pixels,
            counts=record.classes,
            tiles=record.tiles_run,
            warnings=record.warnings,
            verdict=record.verdict,
            seam_ratio=record.seam_ratio,
            files=tuple(outputs.files),
            seconds=record.seconds,
        )

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "files": [str(path) for path in self.files],
            "pixels": asdict(self.pixels),
            "classes": [asdict(count) for count in self.counts],
            "tiles_run": self.tiles,
            "warnings": list(self.warnings),
            "verdict": asdict(self.verdict),
            "seam_ratio": self.seam_ratio,
            **({"layers": self.layers.as_dict()} if self.layers else {}),
            "report": [str(path) for path in self.exports],
        }


@dataclass(frozen=True)
class Execution:
    """How a run is executed; nothing here changes the map.

    Args:
        workers: workers that share the bands; None for this process alone.
        work: address of a bucket for the checkpoint; None for a folder beside the outputs.
        resume: continue from the checkpoint of an earlier run.
        observer: called with the blended logits, once each, in this process; such a run does not resume.
        more_follows: the outputs stay `incomplete` until the caller has made more files of them and calls
            `Outputs.complete`: after a kill the same run goes on there.
    """

    workers: WorkerPool | None = None
    work: str | None = None
    resume: bool = True
    observer: LogitsObserver | None = None
    more_follows: bool = False

    def place(self, outputs: Outputs) -> Storage:
        """Storage of the checkpoint."""
        if self.work is None:
            return FolderStorage(outputs.working)
        return storage_at(f"{self.work.rstrip('/')}/{outputs.stem}.agriseg")


def run(
    prepared: MappingJob, outputs: Outputs, progress: Progress | None = None, execution: Execution = Execution(), *,
    policy: PublishPolicy = _ANY_MAP,
) -> RunReport:  # fmt: skip
    """Map a prepared raster. A map with a refused verdict is published in the quarantine.

    When the device's memory holds not even one tile, tiles become smaller, or the CPU takes over, as far as the user
    has left that open.
    """
    set_up_heap()
    while True:
        try:
            return _run(prepared, outputs, progress or (lambda _done, _total: None), execution, policy)
        except DeviceMemoryError as error:
            if execution.observer is not None:
                raise
            prepared = with_less_memory(prepared, error)


def _run(
    prepared: MappingJob, outputs: Outputs, progress: Progress, execution: Execution, policy: PublishPolicy
) -> RunReport:
    began, clock = time.monotonic(), StageClock()
    plan, limits = prepared.plan, policy.limits.over(limits_of(prepared.model))
    name = identity_of(prepared, policy).key
    with _working(prepared, outputs.places(policy), name, execution) as working:
        if found := working.finished:
            return RunReport.of(found, RunRecord.read(found.record))
        messages = _map(prepared, working, progress, execution, clock)
        with clock(Stage.HASH):
            content = _unchanged_content(prepared.info)
        counts = working.counts
        release_heap()
        mapped = time.monotonic()
        pixels = counts.pixels(plan.roi.width * plan.roi.height)
        store, image = working.checkpoint.store, working.checkpoint.image_means if outputs.with_pictures else None
        products = write_products(prepared, store, working.folder, pixels, clock, image)
        verdict = assess(verdict_input(prepared, counts, pixels, products.seam_ratio), limits.all)
        home, outputs = outputs, _place(outputs, policy, verdict)
        if outputs.overwrite:
            _drop_older(prepared.info.path, outputs, home.places(policy))
        working.mark_publishing()
        for path in products.files:
            files.commit(path, outputs.named(path.name))
        workers = execution.workers.size if execution.workers else 0
        seconds = RunSeconds.of(mapped - began, time.monotonic() - mapped, clock.seconds, workers)
        warnings = (*prepared.warnings, *messages, *counts.warnings)
        outcome = RunOutcome(name, content, counts, pixels, verdict, products, warnings, seconds)
        record = describe_run(prepared, outcome, [outputs.named(path.name) for path in products.files])
        record.write(outputs.record)
    return RunReport.of(outputs, record)


def _unchanged_content(info: RasterInfo) -> InputIdentity:
    """Content of the input.

    Raises:
        DataError: it changed since the run began, or while its content was read.
    """
    info.check_unchanged()
    content = InputIdentity.of(info.path)
    info.check_unchanged()
    return content


def _place(outputs: Outputs, policy: PublishPolicy, verdict: Verdict) -> Outputs:
    """Where a map with this verdict goes: to the outputs, or to the quarantine."""
    if policy.quarantine is None or verdict.colour not in policy.fail_on:
        return outputs
    files.make_folder(policy.quarantine)
    return replace(outputs, folder=policy.quarantine)


def _drop_older(image: Path, outputs: Outputs, places: Sequence[Outputs]) -> None:
    """Delete an older map and all files made from it, at each place where it may be."""
    for each in places:
        Stem(each.folder, each.stem).drop_map(image, outputs.files if each.folder == outputs.folder else ())


def _map(
    prepared: MappingJob, working: WorkingFolder, progress: Progress, execution: Execution, clock: StageClock
) -> list[str]:
    """Run the bands that are not done; returns messages for the record."""
    plan, missing = prepared.plan, working.missing
    finished = plan.tiles - sum(len(working.checkpoint.bands[index].tiles) for index in missing) * len(plan.tile_cols)

    def tell(tiles: int) -> None:
        nonlocal finished
        finished += tiles
        progress(finished, plan.tiles)

    if execution.workers is None:
        mapped = run_local(prepared, working.checkpoint, missing, ALONE, tell, execution.observer)
        batch = mapped.batch
        clock.add(mapped.seconds)
        for index, counts in mapped.counts.items():
            working.mark_done(index, counts)
    else:
        batch = BandDistribution(prepared, working, execution.workers, tell, clock).run()
    return [f"the device's memory held {batch} tiles at a time instead of {plan.batch}"] if batch < plan.batch else []


@contextmanager
def _working(
    prepared: MappingJob, places: Sequence[Outputs], name: str, execution: Execution
) -> Iterator[WorkingFolder]:
    """The working folder: kept for the next run if this one is stopped, or fails when some outputs have their names.

    Otherwise it goes, and so does a folder made for nothing.
    """
    outputs = places[0]
    with files.output_folder(outputs.folder), files.locked(outputs.lock):
        if not outputs.working.exists():
            outputs.require_space(prepared.plan.least_disk(len(prepared.model.legend)))
        resume = execution.resume and execution.observer is None
        working = WorkingFolder(prepared, places, name, execution.place(outputs), resume=resume)
        through = stopped = False
        try:
            present = [place.record for place in places if place.record.exists()]
            if present and not (outputs.overwrite or working.finished):
                raise files.exists_error(present[0])  # of a run of another kind that was killed at its end
            yield working
            through = True
        except (KeyboardInterrupt, Terminated, WorkerLost):
            stopped = True
            raise
        finally:
            if through or not (stopped or working.is_publishing):
                working.remove(keep_mark=through and execution.more_follows)
