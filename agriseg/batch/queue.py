"""The rasters of a batch, and whether a raster has changed."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agriseg.batch.state_db import BatchRow, Entry, Status
from agriseg.errors import AgrisegError
from agriseg.maps.discover import Candidate, Discovery
from agriseg.options.request import MappingRequest
from agriseg.raster.identity import FileStamp, InputIdentity, Listing, listing

GONE = FileStamp(-1, -1, -1)
"""Stamp of a file that is not there."""


@dataclass(frozen=True)
class BatchJob:
    """Rasters that are mapped with one model and one request.

    Args:
        title: first part of the rasters' names and of their output folders; empty for a batch of one job.
    """

    title: str
    discovery: Discovery
    model: Path
    request: MappingRequest


@dataclass(frozen=True)
class BatchItem:
    """A raster of a job.

    Args:
        name: title of the job and the raster's own name.
        stamp: of the file and those beside it when the folder was searched; `GONE` if it is not there.
        key: of model, request and versions.
        refusal: why no worker gets it; None if one does.
        tries: earlier tries in this batch.
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
        """The folder of the outputs, relative to that of the batch."""
        return Path(self.name).parent

    def row(self, status: Status, reason: str = "", code: int = 0) -> BatchRow:
        """The row of this raster without a map."""
        return BatchRow(self.name, status, self.candidate.field, self.candidate.date, code, reason, self.tries + 1)


def same_content(item: BatchItem, entry: Entry) -> bool:
    """Whether a raster and the files beside it have the content that was mapped; read only if the stamp differs."""
    if item.stamp.text == entry.stamp:
        return True
    with suppress(AgrisegError):  # it cannot be read: the worker reports that
        return bool(entry.identity) and InputIdentity.of(item.candidate.path).digest == entry.identity
    return False


def stamp(path: Path, names: Callable[[Path], Listing] = listing) -> FileStamp:
    """The stamp of a raster, `GONE` if it is not there; `names` returns the listing of its folder."""
    try:
        return FileStamp.of(path, names(path.resolve().parent))
    except OSError:
        return GONE
