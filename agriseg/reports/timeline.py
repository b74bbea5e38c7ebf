"""A timeline of several finished maps: field and date of each, their small maps, and a chart of the affected area."""

import io
import os
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self
from urllib.parse import quote

from PIL import Image

from agriseg import files
from agriseg.change.pair import check_trend
from agriseg.errors import DataError, OutputError, UsageError
from agriseg.figures.quicklook import class_picture
from agriseg.flight_date import DATE, field_and_date, first_day
from agriseg.legend import Legend
from agriseg.maps.reader import FinishedMap
from agriseg.maps.record import RECORD
from agriseg.reports.html import Cell, Table, render
from agriseg.reports.map_summary import MapSummary
from agriseg.reports.report import finished_run, is_page
from agriseg.reports.translations import NOTHING, Translator

_SIDES = ((150, 128), (600, 64))  # most entries, and the side of a small map (px) up to there
_SMALLEST = 32
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 900, 300, 70, 14, 20, 34  # of the chart (px)
_MOST_LINES = 12  # of the chart: the fields with the largest areas
_DASHES = ("", "8 4", "2 4", "12 3 2 3")
_TICKS = 4
_LABEL_WIDTH = 80  # px


@dataclass(frozen=True)
class MapEntry:
    """A finished map of one field on one day.

    Args:
        field: the pattern's group, or the raster's name without its date.
        day: the pattern's group, or the first date in the raster's name or the folders above; else that of the map.
        is_flight: whether the day is that of the flight.
    """

    record: Path
    field: str
    day: date
    is_flight: bool
    numbers: MapSummary

    @classmethod
    def of(cls, record: Path, below: Path, pattern: re.Pattern[str] | None) -> Self:
        """The entry of a record; the pattern, as for `agriseg batch`, reads names below the folder `below`."""
        run, layers, _ = finished_run(record)
        numbers = MapSummary.of(run, layers)
        image = Path(run.record.input.path).name
        name = (record.parent.relative_to(below) / image).as_posix() if record.is_relative_to(below) else image
        field, day = field_and_date(name, pattern)
        if pattern and day and first_day(day) != day:
            raise UsageError(f"{name}: {day!r} is no day, or may be two; let the pattern's date be such as 2026-05-01")
        if pattern is None or "field" not in pattern.groupindex:
            field = DATE.sub("", run.stem).strip("-_. ") or run.stem
        flown = day or numbers.date
        known = flown is not None and first_day(flown) == flown
        return cls(record, field, date.fromisoformat(str(flown) if known else numbers.made[:10]), known, numbers)

    def before(self, others: Sequence[Self]) -> Path | None:
        """The record of the latest earlier map of the same field, if it has the same ground and classes."""
        earlier = [each for each in others if each.field == self.field and each.day < self.day]
        if not earlier:
            return None
        record = max(earlier, key=lambda each: each.day).record
        try:
            check_trend(FinishedMap.of(record), FinishedMap.of(self.record))
        except DataError:  # many rasters are called ortho.tif
            return None
        return record


def write_timeline(page: Path, entries: Sequence[MapEntry], lang: str) -> None:
    """Write the page of several maps: fields by dates.

    Raises:
        OutputError: a file that is no report has its name.
    """
    if page.exists() and not is_page(page):
        raise OutputError(f"{page}: exists and is no report of agriseg's; choose another with -o")
    files.make_folder(page.parent)
    files.write_text(page, _timeline_page(page, entries, Translator(lang)))


def _timeline_page(page: Path, entries: Sequence[MapEntry], words: Translator) -> str:
    """HTML; every name in it is escaped."""
    entries = sorted(entries, key=lambda entry: (entry.field, entry.day, entry.numbers.made))
    fields = list(dict.fromkeys(entry.field for entry in entries))
    days = sorted({entry.day for entry in entries})
    cells = {(field, day): [e for e in entries if (e.field, e.day) == (field, day)] for field in fields for day in days}
    side = next((side for most, side in _SIDES if len(entries) <= most), _SMALLEST)
    return render(
        "timeline.html.j2", words, fields=fields, days=days, cells=cells, entries=entries, chart=_chart(entries, words),
        table=_table(entries, words), pictures={entry.record: _small_map(entry.record, side) for entry in entries},
        links={entry.record: _link(page, entry.record) for entry in entries},
    )  # fmt: skip


def _small_map(record: Path, side: int) -> str:
    """A small mask as a data URI; its pixels are a part of the quick look's."""
    run = FinishedMap.of(record)
    with Image.open(io.BytesIO(class_picture(run.classes, run.legend))) as picture:
        picture.thumbnail((side, side), Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def _link(page: Path, record: Path) -> str | None:
    """Address of the report of a map for the page of the timeline; None without a report."""
    report = record.with_name(f"{record.name.removesuffix(RECORD)}_report.html")
    return quote(Path(os.path.relpath(report, page.parent)).as_posix()) if report.is_file() else None


@dataclass(frozen=True)
class Line:
    """A line of the chart; `points` and `path` are in pixels."""

    name: str
    colour: str
    dash: str
    path: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """Lines over the days, one for each field or each class; sizes and positions are in pixels.

    Args:
        ticks: row and text of each.
        days: column and text of each.
        affected: whether the lines are of the affected area, else of each class.
    """

    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    days: tuple[tuple[float, str], ...]
    affected: bool
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    bottom: int = _HEIGHT - _BOTTOM


def _series(entries: Sequence[MapEntry]) -> dict[str, dict[date, float]]:
    """Hectares by day: of the affected classes in each field; without affected classes, of each class in all fields."""
    series: dict[str, dict[date, float]] = {}
    by_field = any(entry.numbers.affected for entry in entries)
    for entry in entries:
        numbers = entry.numbers
        classes = [(row.class_name, row.hectares) for row in numbers.rows]
        for name, hectares in [(entry.field, numbers.affected_hectares)] if by_field else classes:
            if hectares is not None:
                line = series.setdefault(name, {})
                line[entry.day] = hectares + (0 if by_field else line.get(entry.day, 0))
    tallest = sorted(series, key=lambda name: -max(series[name].values()))[:_MOST_LINES]
    return {name: series[name] for name in series if name in tallest}


def _chart(entries: Sequence[MapEntry], words: Translator) -> Chart | None:
    """Lines over the days, in hectares; None where nothing is known on two days."""
    series = _series(entries)
    days = sorted({day for line in series.values() for day in line})
    highest = max((value for line in series.values() for value in line.values()), default=0.0)
    if len(days) < 2 or highest == 0:
        return None
    first, span = days[0], (days[-1] - days[0]).days

    def point(day: date, value: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (day - first).days / span
        return round(across, 1), round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / highest), 1)

    colours = [entry.colour for entry in Legend.from_names([str(k) for k in range(len(series))])]
    lines = []
    for index, (name, values) in enumerate(series.items()):
        points = tuple(point(day, values[day]) for day in sorted(values))
        path = "M" + "L".join(f"{x} {y}" for x, y in points)
        lines.append(Line(name, colours[index], _DASHES[index // 7 % len(_DASHES)], path, points))
    ticks = [(point(first, highest * k / _TICKS)[1], words.area(highest * k / _TICKS)) for k in range(_TICKS + 1)]
    labels: list[tuple[float, str]] = []
    for day in days:
        column = point(day, 0)[0]
        if not labels or column - labels[-1][0] >= _LABEL_WIDTH:
            labels.append((column, day.isoformat()))
    return Chart(tuple(lines), tuple(ticks), tuple(labels), any(entry.numbers.affected for entry in entries))


def _table(entries: Sequence[MapEntry], words: Translator) -> Table:
    """All numbers, a row for each flight, with the change since the flight before."""
    titles = ("Field", "Date", "Mapped", "Affected", "Share", "Change (percentage points)")
    before = [None, *entries[:-1]]
    rows = tuple(_row(entry, earlier, words) for entry, earlier in zip(entries, before, strict=True))
    return Table(words("In numbers"), tuple(map(words, titles)), rows)


def _row(entry: MapEntry, before: MapEntry | None, words: Translator) -> tuple[Cell, ...]:
    numbers, share = entry.numbers, entry.numbers.affected_share
    earlier = before.numbers.affected_share if before and before.field == entry.field else None
    change = None if share is None or earlier is None else share - earlier
    return (
        (entry.field, entry.field), (entry.day.isoformat(), entry.day.isoformat()),
        (numbers.hectares, words.area(numbers.hectares)),
        (numbers.affected_hectares, words.area(numbers.affected_hectares) if numbers.affected else NOTHING),
        (share, words.percent(share)), (change, "" if change is None else f"{100 * change:+.1f}"),
    )  # fmt: skip
