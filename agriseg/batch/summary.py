"""The log of a batch, a line of JSON per event, and its summary as CSV, JSON and HTML.

The summary is written at the beginning, when ..., an eighth, a quarter and half of the rasters are finished, and at
the end: all of these together are about twice the size of the last one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from jinja2 import Environment, PackageLoader, Template

from agriseg import files
from agriseg.batch.state_db import BatchRow
from agriseg.files import csv_text
from agriseg.json_text import json_document, json_line

_COLUMNS = ("name", "field", "date", "status", "code", "reason", "verdict", "minutes", "predicted", "nodata", "failed")
_ORDER = ("failed", "deferred", "waiting", "done", "gone")
_COLOURS = ("red", "amber", "green", None)
_LEVELS = {"failed": "error", "retry": "warning", "deferred": "warning"}


class BatchLog:
    """The log and the summary of one batch; use it as a context.

    Args:
        suffix: of the names of both files, for a shard.
        names: of all rasters.
        passed_over: number of files that are no rasters, by kind.
        on_failure: called with each raster that fails, and the reason.
    """

    def __init__(
        self,
        out: Path,
        suffix: str,
        names: Sequence[str],
        passed_over: Mapping[str, int],
        on_failure: Callable[[str, str], None] = lambda _name, _reason: None,
    ) -> None:
        self._log = out / f"log{suffix}.jsonl"
        self._summary = out / f"summary{suffix}"
        self._names = names
        self._rows: dict[str, BatchRow] = {}  # of the finished rasters
        self._counts = Counter[str]()
        self._milestones = {len(names) >> halvings for halvings in range(1, len(names).bit_length())}
        self._passed_over = passed_over
        self._on_failure = on_failure
        self._began = _now()
        self._run_id = uuid4().hex[:12]

    def __enter__(self) -> "BatchLog":
        self.event("start", rasters={"waiting": self.total}, passed_over=self._passed_over)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.write()
        if kind is None:
            self.event("summary", rasters=self.counts, exit_code=self.exit_code)

    @property
    def total(self) -> int:
        """Number of rasters."""
        return len(self._names)

    @property
    def finished(self) -> int:
        """Number of rasters that are done, failed, deferred or gone."""
        return len(self._rows)

    @property
    def failed(self) -> int:
        """Number of rasters that are not mapped, or not wholly."""
        return self._counts["failed"]

    @property
    def counts(self) -> dict[str, int]:
        """Rasters by status: done, failed, deferred, waiting, gone."""
        waiting = self.total - self.finished
        return {**self._counts, **({"waiting": waiting} if waiting else {})}

    @property
    def exit_code(self) -> int:
        """0; 3 if some failed; 65 if all failed because of their data; 75 if some are deferred and none failed."""
        if self.failed:
            data = all(row.code == 65 for row in self._rows.values() if row.status != "gone")
            return 65 if data and self.finished == self.total else 3
        return 75 if {"deferred", "waiting"} & set(self.counts) else 0

    @property
    def page(self) -> Path:
        """The summary as HTML."""
        return self._summary.with_suffix(".html")

    def add(self, row: BatchRow) -> None:
        """Add the row of a raster, once."""
        self._rows[row.name] = row
        self._counts[row.status] += 1
        if not row.unchanged:
            seconds = {} if row.seconds is None else {"seconds": row.seconds}
            self.event(row.status, row.name, code=row.code, reason=row.reason, **seconds, tries=row.tries)
            if self.finished in self._milestones:
                self.write()
        if row.status == "failed":
            self._on_failure(row.name, row.reason)

    def event(self, event: str, name: str | None = None, **facts: Any) -> None:
        """Append one line to the log in one write, so that it is there whole or not at all."""
        head = {"ts": _now(), "level": _LEVELS.get(event, "info"), "event": event, "run_id": self._run_id}
        line = json_line({**head, **({"input": name} if name else {}), **facts}) + "\n"
        try:
            with self._log.open("ab", buffering=0) as log:
                log.write(line.encode())
        except OSError as error:
            raise files.storage_error(self._log, error) from error

    def write(self) -> None:
        """Write the summary as it is now."""
        summary, rows = self.as_json(), self._all_rows
        files.write_text(self._summary.with_suffix(".json"), json_document(summary))
        files.write_text(self._summary.with_suffix(".csv"), _table(rows))
        rows = sorted((row for row in rows if row.status != "waiting"), key=_rank)
        files.write_text(self.page, _template().render(summary=summary, rows=rows, classes=_classes(rows)))

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values, with a row for each raster in the order of their names."""
        return {
            "run_id": self._run_id, "began": self._began, "written": _now(), "exit_code": self.exit_code,
            "rasters": self.counts, "passed_over": self._passed_over, "rows": list(map(_row_values, self._all_rows)),
        }  # fmt: skip

    @property
    def _all_rows(self) -> list[BatchRow]:
        return [self._rows.get(name) or BatchRow(name, "waiting") for name in self._names]


def _row_values(row: BatchRow) -> dict[str, Any]:
    """A row as JSON values, without those that only the state database or the page needs."""
    if row.status == "waiting":
        return {"name": row.name, "status": row.status}
    values = asdict(row)
    values |= values.pop("map") or {}
    left_out = {"own", "image", "thumbnail", *(key for key in ("seconds", "unchanged") if not values[key])}
    return {key: value for key, value in values.items() if key not in left_out}


def _table(rows: Sequence[BatchRow]) -> str:
    """The rows as CSV: a column of hectares for each class that occurs."""
    classes, lines = _classes(rows), []
    for row in rows:
        code = None if row.status == "waiting" else row.code
        cells = vars(row) | {"code": code, "minutes": round((row.seconds or 0) / 60, 2)}
        if row.map:
            cells |= {**vars(row.map.pixels), "verdict": row.map.verdict.colour}
        hectares = row.map.hectares if row.map else {}
        lines.append([*(cells.get(column) for column in _COLUMNS), *(hectares.get(name) for name in classes)])
    return csv_text([*_COLUMNS, *(f"{name} ha" for name in classes)], lines)


def _now() -> str:
    """RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _classes(rows: Sequence[BatchRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows if row.map for name in row.map.hectares))


@cache
def _template() -> Template:
    """Of the page, which has no scripts or external resources and escapes every name. Read once for all writes."""
    return Environment(loader=PackageLoader("agriseg", "data"), autoescape=True).get_template("batch_summary.html.j2")


def _rank(row: BatchRow) -> tuple[int, int, str]:
    """Failed rasters come first."""
    colour = row.map.verdict.colour if row.map else None
    return _ORDER.index(row.status), _COLOURS.index(colour), row.name
