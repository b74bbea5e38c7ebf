"""What has been mapped already: one row a raster in an SQLite file that any kill leaves readable."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agriseg.errors import StorageError
from agriseg.json_text import json_line

_TABLE = """
CREATE TABLE IF NOT EXISTS rasters (
    name TEXT PRIMARY KEY, stamp TEXT NOT NULL, identity TEXT NOT NULL, key TEXT NOT NULL, outcome TEXT NOT NULL
) STRICT
"""


@dataclass(frozen=True)
class Entry:
    """What became of a raster.

    Args:
        name: its path below the folder that was searched.
        stamp: size and time of the file that was mapped, and what lies beside it, as `FileStamp.text`.
        identity: digest of the content of them all; empty where it could not be read.
        key: of everything else that decides the map: model, parameters, versions.
        outcome: the row of the summary, JSON values.
    """

    name: str
    stamp: str
    identity: str
    key: str
    outcome: dict[str, Any]


class StateDatabase:
    """The file of entries; use it as a context.

    Args:
        path: of the file; made if it is not there.

    Raises:
        StorageError: it is no ledger, or the disk does not take it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._told():
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
        with self._told():
            row = self._base.execute(
                "SELECT name, stamp, identity, key, outcome FROM rasters WHERE name = ?", (name,)
            ).fetchone()
        if row is None:
            return None
        name, stamp, identity, key, outcome = row
        return Entry(name, stamp, identity, key, json.loads(outcome))

    def entries(self) -> Iterator[Entry]:
        """All entries, in the order of their names."""
        with self._told():
            names = self._base.execute("SELECT name FROM rasters ORDER BY name").fetchall()
        return (entry for (name,) in names if (entry := self.find(name)) is not None)

    def put(self, entry: Entry) -> None:
        """Keep an entry, durably, in place of an older one."""
        row = (entry.name, entry.stamp, entry.identity, entry.key, json_line(entry.outcome))
        with self._told():
            self._base.execute("INSERT OR REPLACE INTO rasters VALUES (?, ?, ?, ?, ?)", row)

    def restamp(self, name: str, stamp: str) -> None:
        """Note a raster that was only touched, so that its content need not be read again."""
        with self._told():
            self._base.execute(
                "UPDATE rasters SET stamp = :stamp WHERE name = :name AND stamp != :stamp",
                {"name": name, "stamp": stamp},
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"{self._path}: the ledger cannot be used ({error}); check the disk, or remove it to map all anew"
            ) from error
