"""The bands of one raster over many workers: stretches of neighbours, each by whoever is free."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import torch

from agriseg.errors import DeviceError, UsageError, WorkerLost
from agriseg.inference.workers import TaskError, WorkerPool
from agriseg.mapping.checkpoint import RunCheckpoint, corruption_errors
from agriseg.mapping.local import MappedBands, run_local
from agriseg.mapping.model_cache import cached_model
from agriseg.mapping.prepare import MappingJob, prepare
from agriseg.mapping.record import identity_of
from agriseg.mapping.working_folder import WorkingFolder
from agriseg.options.run import RunOptions
from agriseg.storage.base import UNDER_WAY, storage_at

_LOOK = 0.5  # seconds between looks at what is done
_SHARES = 4  # stretches that a worker gets in the course of a run, so that the last ones end together
_LONGEST = 64  # bands of a stretch: what is lost of the tally when a worker dies, and is read back
_STRIKES = 3  # workers in a row that may die over the same tile
_BARREN = 4  # workers in a row that may die before their first


@dataclass(frozen=True)
class BandRange:
    """Bands, and what a worker has to know to run them.

    Args:
        image: the raster.
        model: its file.
        options: of the run.
        address: of the place where finished bands go.
        key: of the run.
        cpu_threads: of the network.
        bands: their numbers.
    """

    image: Path
    model: Path
    options: RunOptions
    address: str
    key: str
    cpu_threads: int
    bands: range

    @property
    def who(self) -> str:
        """A word for whoever works on it."""
        return f"band{self.bands.start}"


@dataclass
class _Loss:
    """Deaths in a row over the same tile of one stretch."""

    window: str = ""
    strikes: int = 0


def run_distributed(prepared: MappingJob, working: WorkingFolder, crew: WorkerPool, tell: Callable[[int], None]) -> int:
    """Run the bands that are not done on the workers.

    Args:
        prepared: the run; its model has a file that the workers read.
        working: what is done already; it is told the rest.
        crew: the workers.
        tell: told of each number of tiles that is done.

    Returns:
        Tiles per forward: fewer than planned when the device's memory did not hold as many.

    Raises:
        WorkerLost: workers die over one tile again and again; it is named.
        AgrisegError: what went wrong in a worker.
    """
    crew.require_memory(prepared.plan.memory.total)
    return _Spread(prepared, working, crew, tell).run()


@dataclass
class _Spread:
    prepared: MappingJob
    working: WorkingFolder
    crew: WorkerPool
    tell: Callable[[int], None]
    _losses: dict[str, _Loss] = field(default_factory=dict)
    _under_way: dict[str, BandRange] = field(default_factory=dict)
    _barren: int = 0  # deaths before a first tile, since anybody got on

    def run(self) -> int:
        missing = self.working.missing
        longest = max(1, min(_LONGEST, -(-len(missing) // (_SHARES * max(1, self.crew.size)))))
        waiting = deque(self._stretch(part) for part in _apart(_parts(missing, longest), self.crew.size))
        batch, told = self.prepared.plan.batch, set(self.working.archive.recorded)
        while waiting or self._under_way:
            self.crew.require_workers()
            for _ in range(min(self.crew.free, len(waiting))):
                stretch = waiting.popleft()
                self._under_way[stretch.who] = stretch
                self.crew.submit(stretch.who, run_band_range, stretch)
            for who, answer in self.crew.as_completed(_LOOK):
                stretch = self._under_way.pop(who)
                if isinstance(answer, WorkerLost):
                    waiting.extendleft(self._left_of(stretch))
                    continue
                if isinstance(answer, TaskError):
                    self._stop()
                    raise answer.error
                batch = min(batch, answer.batch)
                for index, counts in answer.counts.items():
                    self.working.settle(index, counts)
                _follow(waiting, stretch)
            told |= self._tell(told)
        return batch

    def _stop(self) -> None:
        """End what is under way, so that nothing of it is written any more."""
        for who in self._under_way:
            self.crew.kill(who)

    def _tell(self, told: set[int]) -> set[int]:
        """Count the bands that have been recorded since; they are returned."""
        fresh = set(self.working.archive.recorded) - told
        tiles = sum(len(self.working.archive.bands[index].tiles) for index in fresh)
        if fresh:
            self._barren = 0
            self.tell(tiles * len(self.prepared.plan.tile_cols))
        return fresh

    def _left_of(self, stretch: BandRange) -> list[BandRange]:
        """What is to do of a stretch whose worker died, if it is worth another try."""
        place, name = self.working.archive.place, f"{UNDER_WAY}/{stretch.who}"
        window = (place.get(name) or b"").decode()
        place.delete(name)
        left = self.working.look(stretch.bands)
        loss = self._losses.setdefault(stretch.who, _Loss())
        self._barren = 0 if window else self._barren + 1
        if window:
            loss.strikes = loss.strikes + 1 if window == loss.window else 1
            loss.window = window
        if loss.strikes >= _STRIKES or self._barren >= _BARREN:
            where = f"over {loss.window}" if window else "before their first tile"
            raise WorkerLost(
                f"{self.prepared.info.path}: worker processes died one after the other {where}; "
                "is memory short? What is done is kept: run the same command again"
            )
        parts = [self._stretch(part) for part in _parts(left, len(stretch.bands))]
        self._losses.update((part.who, loss) for part in parts)
        return parts

    def _stretch(self, bands: range) -> BandRange:
        prepared = self.prepared
        if prepared.model.path is None:
            raise UsageError(
                f"model {prepared.model.name!r} has no file that workers could read; save it, and name that"
            )
        return BandRange(
            prepared.info.path.absolute(), prepared.model.path.absolute(), prepared.options,
            self.working.archive.place.address, identity_of(prepared).key, torch.get_num_threads(), bands,
        )  # fmt: skip


def run_band_range(stretch: BandRange) -> MappedBands:
    """Run a stretch, in a worker.

    Raises:
        DeviceError: this machine would make other bytes, or does not see the files.
    """
    torch.set_num_threads(stretch.cpu_threads)
    try:
        stretch.image.stat()
        model = cached_model(stretch.model)
    except FileNotFoundError as error:
        raise DeviceError(f"{error.filename}: a worker does not see it; give workers the same folders") from error
    prepared = prepare(stretch.image, model, stretch.options)
    if identity_of(prepared).key != stretch.key:
        raise DeviceError("a worker's processor, device or versions make other bytes; use workers like this machine")
    place = storage_at(stretch.address)
    try:
        archive = RunCheckpoint(prepared, place)
    except corruption_errors(place) as error:
        raise DeviceError(
            f"{stretch.address}: a worker does not find the run there; give workers the same folders"
        ) from error
    return run_local(prepared, archive, stretch.bands, stretch.who, lambda _tiles: None)


def _apart(parts: Sequence[range], workers: int) -> list[range]:
    """Parts in an order in which as many workers begin far from each other, and each goes on downwards.

    Neighbours that are run at the same time both need the tile row where they meet, and would both compute it.
    """
    each = -(-len(parts) // max(1, workers))
    return [part for start in range(each) for part in parts[start::each]]


def _follow(waiting: "deque[BandRange]", done: BandRange) -> None:
    """Let the neighbour below be next: it finds the answers on the last tile row of what is done."""
    for stretch in waiting:
        if stretch.bands.start == done.bands.stop:
            waiting.remove(stretch)
            waiting.appendleft(stretch)
            return


def _parts(indices: Sequence[int], longest: int) -> list[range]:
    """Runs of neighbours, none longer than allowed, in order."""
    starts = [0, *(place + 1 for place, (one, two) in enumerate(pairwise(indices)) if two != one + 1), len(indices)]
    runs = [range(indices[low], indices[high - 1] + 1) for low, high in pairwise(starts) if low < high]
    return [run[first : first + longest] for run in runs for first in range(0, len(run), longest)]
