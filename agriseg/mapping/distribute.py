"""Maps the bands of one raster on many workers: each worker takes ranges of neighbouring bands."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import torch

from agriseg.errors import DeviceError, UsageError, WorkerLost
from agriseg.inference.malloc import set_up_heap
from agriseg.inference.workers import TaskError, WorkerPool
from agriseg.mapping.checkpoint import RunCheckpoint, corruption_errors
from agriseg.mapping.local import MappedBands, run_local
from agriseg.mapping.prepare import MappingJob, cached_model, prepare
from agriseg.mapping.record import identity_of
from agriseg.mapping.working_folder import WorkingFolder
from agriseg.options.run import RunOptions
from agriseg.storage.base import UNDER_WAY, storage_at
from agriseg.timing.stages import StageClock

_POLL = 0.5  # seconds between looks at what is done
_RANGES_PER_WORKER = 4  # in the course of a run, so that the last ones end together
_LONGEST = 64  # bands of a range: their pixel counts are lost when a worker dies, and are read back
_DEATHS_OVER_TILE = 3  # workers in a row that may die over the same tile
_DEATHS_BEFORE_TILE = 4  # workers in a row that may die before their first tile


@dataclass(frozen=True)
class BandRange:
    """Neighbouring bands, and what a worker needs to map them."""

    image: Path
    model: Path
    options: RunOptions
    address: str
    key: str
    cpu_threads: int
    bands: range

    @property
    def worker_id(self) -> str:
        """Name of the worker that maps it, in the checkpoint."""
        return f"band{self.bands.start}"


@dataclass
class _Deaths:
    """Workers that died in a row over the same tile of one range."""

    window: str = ""
    count: int = 0


@dataclass
class BandDistribution:
    """Maps the missing bands of a run on workers.

    Args:
        job: its model has a file, which the workers read.
        working: knows the missing bands, and gets the pixel counts of the others.
        clock: gets the seconds of the workers; those of a worker that dies are lost.
    """

    job: MappingJob
    working: WorkingFolder
    pool: WorkerPool
    progress: Callable[[int], None]
    clock: StageClock
    _deaths: dict[str, _Deaths] = field(default_factory=dict)
    _running: dict[str, BandRange] = field(default_factory=dict)
    _early_deaths: int = 0  # before a first tile, since the last band was done

    def run(self) -> int:
        """Map all missing bands.

        Returns:
            Tiles per forward: fewer than planned if the memory of the device did not hold as many.

        Raises:
            WorkerLost: workers die over one tile again and again; the message names the tile.
            AgrisegError: of a worker.
        """
        self.pool.require_memory(self.job.plan.memory.total)
        missing = self.working.missing
        longest = max(1, min(_LONGEST, -(-len(missing) // (_RANGES_PER_WORKER * max(1, self.pool.size)))))
        waiting = deque(self._range(part) for part in _apart(_parts(missing, longest), self.pool.size))
        batch, reported = self.job.plan.batch, set(self.working.checkpoint.recorded)
        while waiting or self._running:
            self.pool.require_workers()
            self._submit(waiting)
            for worker_id, answer in self.pool.as_completed(_POLL):
                bands = self._running.pop(worker_id)
                if isinstance(answer, WorkerLost):
                    waiting.extendleft(self._remaining(bands))
                elif isinstance(answer, TaskError):
                    self._kill_all()
                    raise answer.error
                else:
                    batch = min(batch, answer.batch)
                    self.clock.add(answer.seconds)
                    for index, counts in answer.counts.items():
                        self.working.mark_done(index, counts)
                    _put_next_first(waiting, bands)
            reported |= self._report(reported)
        return batch

    def _submit(self, waiting: "deque[BandRange]") -> None:
        """Give a range to each free worker."""
        for _ in range(min(self.pool.free, len(waiting))):
            bands = waiting.popleft()
            self._running[bands.worker_id] = bands
            self.pool.submit(bands.worker_id, run_band_range, bands)

    def _kill_all(self) -> None:
        """Kill the workers that have a range, so that they write nothing any more."""
        for worker_id in self._running:
            self.pool.kill(worker_id)

    def _report(self, reported: set[int]) -> set[int]:
        """Report the tiles of bands that are recorded and not reported yet; returns these bands."""
        fresh = set(self.working.checkpoint.recorded) - reported
        tiles = sum(len(self.working.checkpoint.bands[index].tiles) for index in fresh)
        if fresh:
            self._early_deaths = 0
            self.progress(tiles * len(self.job.plan.tile_cols))
        return fresh

    def _remaining(self, bands: BandRange) -> list[BandRange]:
        """Ranges of the missing bands of a range whose worker died.

        Raises:
            WorkerLost: too many workers died in a row.
        """
        storage, name = self.working.checkpoint.place, f"{UNDER_WAY}/{bands.worker_id}"
        window = (storage.get(name) or b"").decode()
        storage.delete(name)
        missing = self.working.recover(bands.bands)
        deaths = self._deaths.setdefault(bands.worker_id, _Deaths())
        self._early_deaths = 0 if window else self._early_deaths + 1
        if window:
            deaths.count = deaths.count + 1 if window == deaths.window else 1
            deaths.window = window
        if deaths.count >= _DEATHS_OVER_TILE or self._early_deaths >= _DEATHS_BEFORE_TILE:
            where = f"over {deaths.window}" if window else "before their first tile"
            raise WorkerLost(
                f"{self.job.info.path}: worker processes died one after the other {where}; "
                "is memory short? What is done is kept: run the same command again"
            )
        parts = [self._range(part) for part in _parts(missing, len(bands.bands))]
        self._deaths.update((part.worker_id, deaths) for part in parts)
        return parts

    def _range(self, bands: range) -> BandRange:
        job = self.job
        if job.model.path is None:
            raise UsageError(f"model {job.model.name!r} has no file that workers could read; save it, and name that")
        return BandRange(
            job.info.path.absolute(), job.model.path.absolute(), job.numbered_options,
            self.working.checkpoint.place.address, identity_of(job).key, torch.get_num_threads(), bands,
        )  # fmt: skip


def run_band_range(bands: BandRange) -> MappedBands:
    """Map a range of bands, in a worker.

    Raises:
        DeviceError: this machine would make other bytes, or does not see the files.
    """
    torch.set_num_threads(bands.cpu_threads)
    set_up_heap()
    try:
        bands.image.stat()
        model = cached_model(bands.model)
    except FileNotFoundError as error:
        raise DeviceError(f"{error.filename}: a worker does not see it; give workers the same folders") from error
    job = prepare(bands.image, model, bands.options)
    if identity_of(job).key != bands.key:
        raise DeviceError("a worker's processor, device or versions make other bytes; use workers like this machine")
    storage = storage_at(bands.address)
    try:
        checkpoint = RunCheckpoint(job, storage)
    except corruption_errors(storage) as error:
        raise DeviceError(
            f"{bands.address}: a worker does not find the run there; give workers the same folders"
        ) from error
    return run_local(job, checkpoint, bands.bands, bands.worker_id, lambda _tiles: None)


def _apart(parts: Sequence[range], workers: int) -> list[range]:
    """Parts in an order in which the workers begin far from each other, and each goes on downwards.

    Neighbours that run at the same time both need the tile row where they meet, and would both compute it.
    """
    each = -(-len(parts) // max(1, workers))
    return [part for start in range(each) for part in parts[start::each]]


def _put_next_first(waiting: "deque[BandRange]", done: BandRange) -> None:
    """Let the range below be next: the cache still holds the logits of the last tile row of the one above."""
    for bands in waiting:
        if bands.bands.start == done.bands.stop:
            waiting.remove(bands)
            waiting.appendleft(bands)
            return


def _parts(indices: Sequence[int], longest: int) -> list[range]:
    """Runs of neighbours, none longer than allowed, in order."""
    starts = [0, *(place + 1 for place, (one, two) in enumerate(pairwise(indices)) if two != one + 1), len(indices)]
    runs = [range(indices[low], indices[high - 1] + 1) for low, high in pairwise(starts) if low < high]
    return [run[first : first + longest] for run in runs for first in range(0, len(run), longest)]
