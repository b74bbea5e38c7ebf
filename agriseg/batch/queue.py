"""What a batch maps: its rasters, how they are mapped, and whether a raster has changed."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from agriseg.batch.state_db import Entry
from agriseg.errors import AgrisegError
from agriseg.maps.discover import Candidate, Discovery
from agriseg.raster.identity import FileStamp, InputIdentity, Listing, listing

QUARANTINE = "quarantine"
"""Folder, in that of the outputs, for maps that are not to be published."""
GONE = FileStamp(-1, -1, -1)
"""Stamp of a file that is not there."""


@dataclass(frozen=True)
class BatchJob:
    """Rasters that are mapped alike.

    Args:
        title: first part of the names and of the outputs' folder; empty for a night of one job.
        found: the rasters.
        model: its file.
        flags: fields of `RunOptions`.
    """

    title: str
    found: Discovery
    model: Path
    flags: Mapping[str, Any]


@dataclass(frozen=True)
class BatchOptions:
    """How a night goes.

    Args:
        workers: processes on this machine.
        scheduler: address or file of a Dask scheduler; its workers are used instead.
        timeout: seconds that a raster may take; None for no limit.
        retries: how often a raster is tried again after a fault of disk or worker.
        fail_fast: end after the first raster that fails.
        settle: seconds that a file must have been left alone, else it may still be growing.
        cpu_threads: threads of the network in each worker; None shares the cores out.
        shard: k, n: only the k-th of n parts of the rasters; every shard has its own ledger and summary.
        since: only flights of this day or later.
        limits: of the verdict, as `VerdictLimits.of` takes them.
        refused: colours of maps that are not published, but put into `quarantine`.
        lang: of the reports: en or zh.
    """

    workers: int = 1
    scheduler: str | None = None
    timeout: float | None = None
    retries: int = 1
    fail_fast: bool = False
    settle: float = 30.0
    cpu_threads: int | None = None
    shard: tuple[int, int] = (1, 1)
    since: date | None = None
    limits: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    lang: str = "en"


@dataclass(frozen=True)
class BatchItem:
    """A raster of a job.

    Args:
        name: title of the job and the raster's own name.
        stamp: of the file, and of those beside it, when it was found; `GONE` if it is not there.
        key: of model, parameters and versions.
        refusal: why it is not given to a worker tonight; None if it is.
        tries: how often a worker has tried it.
    """

    name: str
    candidate: Candidate
    job: BatchJob
    stamp: FileStamp
    key: str
    refusal: AgrisegError | None = None
    tries: int = 0

    @property
    def folder(self) -> Path:
        """Of the outputs, below that of the night."""
        return Path(self.name).parent

    def row(self, status: str, reason: str = "", code: int = 0) -> dict[str, Any]:
        """The columns of the summary that every raster has."""
        return {
            "name": self.name, "field": self.candidate.field, "date": self.candidate.date, "status": status,
            "code": code, "reason": reason, "tries": self.tries + 1,
        }  # fmt: skip


def same_content(item: BatchItem, entry: Entry) -> bool:
    """Whether a raster, with the files beside it, is the one that was mapped; what was only touched is read to see."""
    if item.stamp.text == entry.stamp:
        return True
    with suppress(AgrisegError):  # it cannot be read, and says so when its turn comes
        return bool(entry.identity) and InputIdentity.of(item.candidate.path).digest == entry.identity
    return False


def stamp(path: Path, names: Callable[[Path], Listing] = listing) -> FileStamp:
    """The stamp of a raster; `GONE` if it is not there.

    Args:
        path: of the raster.
        names: gives the listing of its folder.
    """
    try:
        return FileStamp.of(path, names(path.resolve().parent))
    except OSError:
        return GONE
