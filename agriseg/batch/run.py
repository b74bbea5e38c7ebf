"""A batch of rasters, each in a worker process; one that fails stops no other."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from zlib import crc32

from agriseg import files
from agriseg.batch.queue import GONE, BatchItem, BatchJob, same_content, stamp
from agriseg.batch.state_db import BatchRow, StateDatabase
from agriseg.batch.summary import BatchLog
from agriseg.batch.withdrawn import is_there, rows_of_gone
from agriseg.errors import AgrisegError, ModelError, UsageError
from agriseg.json_text import json_line
from agriseg.maps.discover import Candidate
from agriseg.maps.run_identity import RunIdentity, versions
from agriseg.options.batch import BatchOptions
from agriseg.options.layers import LayerOptions
from agriseg.raster.identity import Listing, listing
from agriseg.vectors.read import layered

FINAL = (2, 3, 65, 78)
"""Exit codes of failures that the same command would repeat: raster, model and flags stay the same."""


@dataclass(frozen=True)
class BatchRun:
    """A batch; `run` maps its rasters.

    Args:
        out: folder of the outputs, the state database, the log and the summary.
        progress: called with the number of finished rasters and of all.
        on_failure: called with each raster that fails, and the reason.
    """

    jobs: Sequence[BatchJob]
    out: Path
    options: BatchOptions
    progress: Callable[[int, int], None] = lambda _done, _all: None
    on_failure: Callable[[str, str], None] = lambda _name, _reason: None

    def run(self) -> BatchLog:
        """Map the rasters that are new or changed, or failed for a reason that may have passed.

        Returns:
            The log of the batch, closed; its exit code is that of the command.

        Raises:
            BusyError: another batch writes into the folder.
            AgrisegError: the batch cannot be run; errors of one raster are in its row.
        """
        files.make_folder(self.out)
        with files.locked(self.out / f".agriseg-batch{self._suffix}.lock"):
            items, passed_over = self._items()
            with StateDatabase(self._database) as database:
                gone = list(rows_of_gone(database, {item.name for item in items}))
                names = [*(item.name for item in items), *(row.name for row in gone)]
                with BatchLog(self.out, self._suffix, names, passed_over, self.on_failure) as log:
                    for row in gone:
                        log.add(row)
                    self._map(items, database, log)
                return log

    def _map(self, items: list[BatchItem], database: StateDatabase, log: BatchLog) -> None:
        pending = [item for item in items if not self._is_finished(item, database, log)]
        if pending:
            log.write()
            from agriseg.batch.dispatcher import Dispatcher  # loads Dask, which an unchanged batch does not need

            Dispatcher(self.options, self.out, database, log, pending, self.progress).work()

    def plan(self) -> list[tuple[str, str]]:
        """Each raster's name, and what `run` would do with it; writes nothing."""
        items, _ = self._items()
        plan = []
        with StateDatabase(self._database) if self._database.exists() else nullcontext() as database:
            for item in items:
                known = database and self._known(item, database)
                plan.append((item.name, "refused" if item.refusal else "unchanged" if known else "to map"))
        return plan

    @property
    def _suffix(self) -> str:
        part, parts = self.options.shard
        return f"-{part}of{parts}" if parts > 1 else ""

    @property
    def _database(self) -> Path:
        return self.out / f"ledger{self._suffix}.sqlite"

    def _items(self) -> tuple[list[BatchItem], dict[str, int]]:
        """The rasters of this shard, and the number of files that are no rasters, by kind."""
        passed_over = Counter[str]()
        items: list[BatchItem] = []
        names = cache(listing)  # a folder of 10,000 rasters is listed once
        for job in self.jobs:
            key = _key(job, self.options)
            items += [_item(job, each, key, names) for each in job.discovery.rasters if self._selects(each)]
            passed_over.update(job.discovery.passed_over)
        items = [self._checked(item) for item in _without_clashes(items)]
        unseen = [_unseen(job, *each) for job in self.jobs for each in job.discovery.unseen.items()]
        return [item for item in items + unseen if self._in_shard(item)], passed_over

    def _in_shard(self, item: BatchItem) -> bool:
        """Whether the raster is in this shard; by its name alone, so that it stays there when others are added."""
        part, parts = self.options.shard
        return crc32(item.name.encode("utf-8", "surrogateescape")) % parts == part - 1

    def _selects(self, candidate: Candidate) -> bool:
        if self.options.since is None:
            return True
        with suppress(OSError):  # it has gone: the dispatcher reports that
            return candidate.day is None or candidate.day >= self.options.since
        return True

    def _checked(self, item: BatchItem) -> BatchItem:
        """A raster; refused if its date cannot be compared with `since`."""
        date = item.candidate.date
        if self.options.since is None or date is None or item.candidate.day is not None:
            return item
        why = f"{date!r} is no day, or may be two, so --since cannot be applied; write 2026-05-01"
        return replace(item, refusal=UsageError(f"{item.candidate.path}: {why}"))

    def _is_finished(self, item: BatchItem, database: StateDatabase, log: BatchLog) -> bool:
        """Whether a raster needs no worker: it is mapped, or known to be bad."""
        if item.refusal:
            row = item.row("failed", str(item.refusal), item.refusal.exit_code)
        elif known := self._known(item, database):
            database.restamp(item.name, item.stamp.text)
            row = replace(known, unchanged=True)
        else:
            return False
        log.add(row)
        return True

    def _known(self, item: BatchItem, database: StateDatabase) -> BatchRow | None:
        """The final row of the unchanged raster from an earlier batch; None if it is to be mapped."""
        entry = database.find(item.name)
        if entry is None or entry.key != item.key or not same_content(item, entry):
            return None
        is_final = entry.row.status == "done" or entry.row.code in FINAL
        return entry.row if is_final and is_there(self.out, entry.row) else None


def _item(job: BatchJob, candidate: Candidate, key: str, names: Callable[[Path], Listing]) -> BatchItem:
    name = f"{job.title}/{candidate.name}" if job.title else candidate.name
    return BatchItem(name, candidate, job, stamp(candidate.path, names), key)


def _unseen(job: BatchJob, name: str, why: AgrisegError) -> BatchItem:
    """A folder that cannot be read, as a raster that fails."""
    title = f"{job.title}/{name}" if job.title else name
    return BatchItem(title, Candidate(Path(name), name, name, None), job, GONE, "", why)


def _without_clashes(items: list[BatchItem]) -> list[BatchItem]:
    """The rasters; one whose outputs would have the names of an earlier one's is refused."""
    first: dict[str, str] = {}
    marked = []
    for item in items:
        other = first.setdefault(str(Path(item.name).with_suffix("")), item.name)
        why = UsageError(f"{other} would write the same files; give one of them another name")
        marked.append(item if other == item.name else replace(item, refusal=why))
    return marked


def _key(job: BatchJob, options: BatchOptions) -> str:
    """SHA-256 of everything but the raster that decides its outputs: model, request, threads, versions."""
    if not job.model.is_file():
        raise ModelError(f"{job.model}: no such model file; check the name")
    request = job.request
    identity = RunIdentity(
        files.file_hash(job.model), request.run, options.cpu_threads, versions(), policy=request.policy
    )
    parts = [identity.key, repr(request.layers), repr(request.exports), _layer_inputs(request.layers)]
    return hashlib.sha256(json_line(parts).encode()).hexdigest()


def _layer_inputs(layers: LayerOptions | None) -> list[tuple[str, int, int]]:
    """Name, size and time of the files that layers are made from, and of those that share their stems."""
    inputs = [layers.fields, layers.plots, layers.zones_by] if layers else []
    states = []
    for path in [layered(each)[0] for each in inputs if each]:
        with suppress(OSError):  # it has gone: the layers report that
            for file in sorted(path.parent.iterdir()):
                if file.stem == path.stem:
                    states.append((file.name, file.stat().st_size, file.stat().st_mtime_ns))
    return states
