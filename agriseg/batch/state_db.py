"""State database of a batch: one row per raster in an SQLite file that survives a kill; the summary shows the rows."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from agriseg.batch.task import MapFacts
from agriseg.errors import StorageError
from agriseg.json_text import from_json, json_line

Status = Literal["begun", "waiting", "deferred", "failed", "done", "gone"]

_TABLE = """
CREATE TABLE IF NOT EXISTS rasters (
    name TEXT PRIMARY KEY, stamp TEXT NOT NULL, identity TEXT NOT NULL, key TEXT NOT NULL, outcome TEXT NOT NULL
) STRICT
"""
_REMEDY = "delete it to map everything again"


@dataclass(frozen=True)
class BatchRow:
    """What is known of one raster.

    Args:
        name: title of the job and path below its folder.
        status: begun: a worker has it; waiting: not yet; deferred: the file was still growing; gone: the raster was
            deleted after it was mapped.
        field, date: from the path; None if it has none.
        code: exit code of a raster that failed, or 0.
        reason: of the status, one sentence.
        tries: number of workers that have had the raster.
        seconds: None if no worker has had it.
        unchanged: whether the row is of an earlier batch.
        own: whether the files with the raster's output names are of this batch or an earlier one.
        image: absolute path of the raster.
    """

    name: str
    status: Status
    field: str | None = None
    date: str | None = None
    code: int = 0
    reason: str = ""
    tries: int = 1
    seconds: float | None = None
    map: MapFacts | None = None
    unchanged: bool = False
    own: bool = False
    image: str | None = None


@dataclass(frozen=True)
class Entry:
    """The state of a raster.

    Args:
        stamp: of the file that was mapped and those beside it, as `FileStamp.text`.
        identity: digest of the content of these files; empty if they could not be read.
        key: of everything else that decides the outputs: model, request, versions.
    """

    name: str
    stamp: str
    identity: str
    key: str
    row: BatchRow


class StateDatabase:
    """The file of entries, created if it does not exist; use it as a context.

    Raises:
        StorageError: it is no state database, or the disk cannot store it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._storage_errors():
            self._base = sqlite3.connect(path, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.execute(_TABLE)

    def __enter__(self) -> "StateDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def find(self, name: str) -> Entry | None:
        """The entry of a raster, or None."""
        with self._storage_errors():
            row = self._base.execute(
                "SELECT name, stamp, identity, key, outcome FROM rasters WHERE name = ?", (name,)
            ).fetchone()
        if row is None:
            return None
        name, stamp, identity, key, outcome = row
        values, source = json.loads(outcome), f"{self._path}: no state of {name}"
        facts = from_json(MapFacts, values, source, _REMEDY) if "thumbnail" in values else None
        return Entry(name, stamp, identity, key, replace(from_json(BatchRow, values, source, _REMEDY), map=facts))

    def entries(self) -> Iterator[Entry]:
        """All entries, in the order of their names."""
        with self._storage_errors():
            names = self._base.execute("SELECT name FROM rasters ORDER BY name").fetchall()
        return (entry for (name,) in names if (entry := self.find(name)) is not None)

    def put(self, entry: Entry) -> None:
        """Store an entry durably, in place of an older one."""
        values = asdict(entry.row)
        values |= values.pop("map") or {}
        row = (entry.name, entry.stamp, entry.identity, entry.key, json_line(values))
        with self._storage_errors():
            self._base.execute("INSERT OR REPLACE INTO rasters VALUES (?, ?, ?, ?, ?)", row)

    def restamp(self, name: str, stamp: str) -> None:
        """Store the new stamp of a raster whose content is the same, so that it need not be read again."""
        with self._storage_errors():
            self._base.execute(
                "UPDATE rasters SET stamp = :stamp WHERE name = :name AND stamp != :stamp",
                {"name": name, "stamp": stamp},
            )

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            text = f"{self._path}: the state database cannot be used ({error}); check the disk, or {_REMEDY}"
            raise StorageError(text) from error
