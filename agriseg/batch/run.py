"""Many rasters in one night: each in a worker process, none of them able to stop the others."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

from agriseg import files
from agriseg.batch.queue import GONE, BatchItem, BatchJob, BatchOptions, same_content, stamp
from agriseg.batch.state_db import StateDatabase
from agriseg.batch.summary import BatchLog
from agriseg.batch.withdrawn import is_there, rows_of_gone
from agriseg.errors import AgrisegError, ModelError, UsageError
from agriseg.maps.discover import Candidate
from agriseg.maps.run_identity import RunIdentity, versions
from agriseg.options.run import PublishPolicy, RunOptions, VerdictLimits
from agriseg.raster.identity import Listing, listing

FINAL = (2, 3, 65, 78)
"""Exit codes of what will fail again however often it is tried: the raster, the model and the flags stay the same."""


@dataclass(frozen=True)
class BatchRun:
    """What is to be done, and where it goes; `run` does it.

    Args:
        jobs: at least one.
        out: folder of the outputs, the ledger and the summaries.
        rules: how.
        tell: called with rasters settled and rasters in all.
        complain: called with each raster that fails, and why.
    """

    jobs: Sequence[BatchJob]
    out: Path
    rules: BatchOptions
    tell: Callable[[int, int], None] = lambda _done, _all: None
    complain: Callable[[str, str], None] = lambda _name, _why: None

    def run(self) -> BatchLog:
        """Map what is not mapped yet.

        Returns:
            The diary of the night, closed; its exit code is that of the command.

        Raises:
            BusyError: another night writes there.
            AgrisegError: what no raster is to blame for.
        """
        files.make_folder(self.out)
        with files.locked(self.out / f".agriseg-batch{self._suffix}.lock"):
            items, passed_over = self._items()
            with StateDatabase(self.out / f"ledger{self._suffix}.sqlite") as ledger:
                gone = {row["name"]: row for row in rows_of_gone(ledger, {item.name for item in items})}
                names = [*(item.name for item in items), *gone]
                with BatchLog(self.out, self._suffix, names, passed_over, self.complain) as diary:
                    self._go(items, gone, ledger, diary)
                return diary

    def _go(
        self, items: list[BatchItem], gone: dict[str, dict[str, Any]], ledger: StateDatabase, diary: BatchLog
    ) -> None:
        for name, row in gone.items():
            diary.settle(name, row)
        left = [item for item in items if not self._settled(item, ledger, diary)]
        if left:
            diary.write()
            from agriseg.batch.dispatcher import Dispatcher  # loads Dask, which a night without work does without

            Dispatcher(self.rules, self.out, ledger, diary, left, self.tell).work()

    def plan(self) -> list[tuple[str, str]]:
        """Each raster's name and what would become of it: nothing is written."""
        items, _ = self._items()
        place = self.out / f"ledger{self._suffix}.sqlite"
        with StateDatabase(place) if place.exists() else nullcontext() as ledger:
            return [(item.name, self._prospect(item, ledger)) for item in items]

    def _prospect(self, item: BatchItem, ledger: StateDatabase | None) -> str:
        known = ledger and self._known(item, ledger)
        return "refused" if item.refusal else "unchanged" if known else "to map"

    @property
    def _suffix(self) -> str:
        part, parts = self.rules.shard
        return f"-{part}of{parts}" if parts > 1 else ""

    def _items(self) -> tuple[list[BatchItem], dict[str, int]]:
        """The rasters of this shard, and how many files were passed over, by kind."""
        passed_over: dict[str, int] = {}
        items: list[BatchItem] = []
        names = cache(listing)  # a folder of 10,000 rasters is listed once
        for job in self.jobs:
            key = _key(job, self.rules)
            items += [_item(job, candidate, key, names) for candidate in job.found.rasters if self._is_asked(candidate)]
            for kind, number in job.found.passed_over.items():
                passed_over[kind] = passed_over.get(kind, 0) + number
        items = [self._checked(item) for item in _without_clashes(items)]
        unseen = [_unseen(job, *each) for job in self.jobs for each in job.found.unseen.items()]
        return [item for item in items + unseen if self._is_ours(item)], passed_over

    def _is_ours(self, item: BatchItem) -> bool:
        """Whether this shard has the raster; the same one every night, whatever comes beside it."""
        part, parts = self.rules.shard
        return crc32(item.name.encode("utf-8", "surrogateescape")) % parts == part - 1

    def _is_asked(self, candidate: Candidate) -> bool:
        if self.rules.since is None:
            return True
        with suppress(OSError):  # it has gone, and says so when its turn comes
            return candidate.day is None or candidate.day >= self.rules.since
        return True

    def _checked(self, item: BatchItem) -> BatchItem:
        """A raster whose date cannot be compared says so."""
        date = item.candidate.date
        if self.rules.since is None or date is None or item.candidate.day is not None:
            return item
        why = (
            f"{item.candidate.path}: {date!r} is no day, or may be two, so --since cannot be applied; write 2026-05-01"
        )
        return replace(item, refusal=UsageError(why))

    def _settled(self, item: BatchItem, ledger: StateDatabase, diary: BatchLog) -> bool:
        """Whether nothing is to be done for a raster: it is mapped, or is known to be bad."""
        if item.refusal:
            outcome = item.row("failed", str(item.refusal), item.refusal.exit_code)
        elif known := self._known(item, ledger):
            ledger.restamp(item.name, item.stamp.text)
            outcome = {**known, "unchanged": True}
        else:
            return False
        diary.settle(item.name, outcome)
        return True

    def _known(self, item: BatchItem, ledger: StateDatabase) -> dict[str, Any] | None:
        """What became of just this raster in an earlier night; None if it is to be mapped."""
        entry = ledger.find(item.name)
        if entry is None or entry.key != item.key or not same_content(item, entry):
            return None
        is_final = entry.outcome["status"] == "done" or entry.outcome["code"] in FINAL
        return entry.outcome if is_final and is_there(self.out, entry.outcome) else None


def _item(job: BatchJob, candidate: Candidate, key: str, names: Callable[[Path], Listing]) -> BatchItem:
    name = f"{job.title}/{candidate.name}" if job.title else candidate.name
    return BatchItem(name, candidate, job, stamp(candidate.path, names), key)


def _unseen(job: BatchJob, name: str, why: AgrisegError) -> BatchItem:
    """What could not be looked into is told as a raster is that fails."""
    title = f"{job.title}/{name}" if job.title else name
    return BatchItem(title, Candidate(Path(name), name, name, None), job, GONE, "", why)


def _without_clashes(items: list[BatchItem]) -> list[BatchItem]:
    """Rasters whose outputs would have the names of another's say so."""
    first: dict[str, str] = {}
    marked = []
    for item in items:
        stem = str(Path(item.name).with_suffix(""))
        if stem in first:
            why = f"{first[stem]} would write the same files; give one of them another name"
            item = replace(item, refusal=UsageError(why))
        marked.append(item)
        first.setdefault(stem, item.name)
    return marked


def _key(job: BatchJob, rules: BatchOptions) -> str:
    """Of everything beside the raster that decides a map."""
    if not job.model.is_file():
        raise ModelError(f"{job.model}: no such model file; check the name")
    policy = PublishPolicy(VerdictLimits.of(rules.limits), rules.refused)
    options = RunOptions.of(**job.flags)
    return RunIdentity(files.file_hash(job.model), options, rules.cpu_threads, versions(), policy=policy).key
