"""What a night tells: a line of JSON an event, and a summary as table, as JSON and as a page, whole at any instant.

Each event costs one line of the log. The summary is written when the night begins, when ..., an eighth, a quarter and
half of the rasters are settled, and at the end: all of these together are about twice the last one.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from agriseg import files
from agriseg.batch.summary_page import summary_page
from agriseg.files import csv_text
from agriseg.json_text import json_document, json_line

_COLUMNS = ("name", "field", "date", "status", "code", "reason", "verdict", "minutes", "predicted", "nodata", "failed")
_WAITING = "waiting"


class BatchLog:
    """The log and the summaries of one night; use it as a context.

    Args:
        out: the folder they lie in.
        suffix: of their names, for a shard.
        names: of all rasters.
        passed_over: how many files were none, by kind.
        complain: called with each raster that fails, and why.
    """

    def __init__(
        self,
        out: Path,
        suffix: str,
        names: Sequence[str],
        passed_over: dict[str, int],
        complain: Callable[[str, str], None] = lambda _name, _why: None,
    ) -> None:
        self._log = out / f"log{suffix}.jsonl"
        self._summary = out / f"summary{suffix}"
        self._names = names
        self._rows: dict[str, dict[str, Any]] = {}  # of the rasters that are settled
        self._counts = Counter[str]()
        self._milestones = {len(names) >> halvings for halvings in range(1, len(names).bit_length())}
        self._passed_over = passed_over
        self._complain = complain
        self._began = datetime.now(UTC)
        self._run_id = uuid4().hex[:12]

    def __enter__(self) -> "BatchLog":
        self.note("start", rasters={_WAITING: self.total}, passed_over=self._passed_over)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.write()
        if kind is None:
            self.note("summary", rasters=self.counts, exit_code=self.exit_code)

    @property
    def total(self) -> int:
        """Rasters in all."""
        return len(self._names)

    @property
    def settled(self) -> int:
        """Rasters of which it is known what became."""
        return len(self._rows)

    @property
    def failed(self) -> int:
        """Rasters that are not mapped, or not wholly."""
        return self._counts["failed"]

    @property
    def counts(self) -> dict[str, int]:
        """Rasters by status: done, failed, deferred, waiting, gone."""
        waiting = self.total - self.settled
        return {**self._counts, **({_WAITING: waiting} if waiting else {})}

    @property
    def exit_code(self) -> int:
        """0; 3 if some failed, 65 if all did and for their data; 75 if some are put off and none failed."""
        if self.failed:
            data = all(row["code"] == 65 for row in self._rows.values() if row["status"] != "gone")
            return 65 if data and self.settled == self.total else 3
        return 75 if {"deferred", _WAITING} & set(self.counts) else 0

    @property
    def summary(self) -> dict[str, Any]:
        """All of it, JSON values."""
        return {
            "run_id": self._run_id, "began": _stamp(self._began), "written": _stamp(datetime.now(UTC)),
            "exit_code": self.exit_code, "rasters": self.counts, "passed_over": self._passed_over,
            "rows": [{key: value for key, value in row.items() if key != "thumbnail"} for row in self._all],
        }  # fmt: skip

    @property
    def page(self) -> Path:
        """The summary as a page."""
        return self._summary.with_suffix(".html")

    def settle(self, name: str, row: dict[str, Any]) -> None:
        """Say what became of a raster, once."""
        self._rows[name] = row
        self._counts[row["status"]] += 1
        if not row.get("unchanged"):
            told = {key: row[key] for key in ("code", "reason", "seconds", "tries") if key in row}
            self.note(row["status"], name, **told)
            if self.settled in self._milestones:
                self.write()
        if row["status"] == "failed":
            self._complain(name, row["reason"])

    def note(self, event: str, name: str | None = None, **facts: Any) -> None:
        """One line in the log, in one write: it is there or it is not."""
        level = {"failed": "error", "retry": "warning", "deferred": "warning"}.get(event, "info")
        entry = {"ts": _stamp(datetime.now(UTC)), "level": level, "event": event, "run_id": self._run_id}
        line = json_line({**entry, **({"input": name} if name else {}), **facts}) + "\n"
        try:
            handle = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise files.storage_error(self._log, error) from error

    def write(self) -> None:
        """Write the summary as it is now."""
        summary, settled = self.summary, list(self._rows.values())
        files.write_text(self._summary.with_suffix(".json"), json_document(summary))
        files.write_text(self._summary.with_suffix(".csv"), _table(self._all))
        files.write_text(self.page, summary_page(summary, settled))

    @property
    def _all(self) -> list[dict[str, Any]]:
        """A row for each raster, in their order."""
        return [self._rows.get(name) or {"name": name, "status": _WAITING} for name in self._names]


def _table(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV: a column of hectares for each class that occurs."""
    classes = list(dict.fromkeys(name for row in rows for name in row.get("hectares", {})))
    lines = []
    for row in rows:
        verdict = row.get("verdict", {}).get("colour")
        flat = {**row, **row.get("pixels", {}), "minutes": round(row.get("seconds", 0) / 60, 2), "verdict": verdict}
        hectares = row.get("hectares", {})
        lines.append([*(flat.get(column) for column in _COLUMNS), *(hectares.get(name) for name in classes)])
    return csv_text([*_COLUMNS, *(f"{name} ha" for name in classes)], lines)


def _stamp(moment: datetime) -> str:
    """RFC 3339, UTC."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
