"""A timeline of several finished maps: field and date of each, their small maps, and a chart of the affected area."""

import io
import os
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
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

_SIDES = ((150, 128), (600, 64))  # up to so many visits: px of a small map
_SMALLEST = 32
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 900, 300, 70, 14, 20, 34  # of the chart (px)
_MOST_LINES = 12
"""In the chart; of more fields those with the largest numbers."""
_DASHES = ("", "8 4", "2 4", "12 3 2 3")
_TICKS = 4


@dataclass(frozen=True)
class TimelineEntry:
    """One flight over one field.

    Args:
        field: its name.
        day: of the flight; where no name tells it, of the map.
        is_flight: whether it is the flight's.
        numbers: of the map.
        picture: data URI of a small map.
        page: address of its report from the folder of this page, or None.
    """

    field: str
    day: date
    is_flight: bool
    numbers: MapSummary
    picture: str
    page: str | None


@dataclass(frozen=True)
class MapEntry:
    """A finished map of one field on one day.

    Args:
        record: of the run.
        field: the pattern's group, or the raster's name without its date.
        day: the pattern's group, or the first date in the raster's name or the folders above; else of the map.
        is_flight: whether the day is the flight's.
        numbers: of the map.
    """

    record: Path
    field: str
    day: date
    is_flight: bool
    numbers: MapSummary

    @classmethod
    def of(cls, record: Path, below: Path, pattern: re.Pattern[str] | None) -> Self:
        """Of a record.

        Args:
            record: of the run.
            below: folder from which on the pattern looks at names.
            pattern: with the groups `field` and `date`, as for `agriseg batch`; or None.
        """
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
        return cls(
            record,
            field,
            date.fromisoformat(str(flown) if known else numbers.made[:10]),
            known,
            numbers,
        )

    def visit(self, page: Path, side: int) -> TimelineEntry:
        """The same for a page, with a map of at most so many pixels a side."""
        picture, link = _small_map(self.record, side), _link(page, self.record)
        return TimelineEntry(self.field, self.day, self.is_flight, self.numbers, picture, link)

    def before(self, others: Sequence[Self]) -> Path | None:
        """The record of the latest earlier flight over the same field."""
        earlier = [each for each in others if each.field == self.field and each.day < self.day]
        latest = max(earlier, key=lambda each: each.day, default=None)
        return latest.record if latest and self._continues(latest) else None

    def _continues(self, other: Self) -> bool:
        """Whether a map of the same name is of the same ground and classes: many rasters are called ortho.tif."""
        try:
            check_trend(FinishedMap.of(other.record), FinishedMap.of(self.record))
        except DataError:
            return False
        return True


def write_season(page: Path, flights: Sequence[MapEntry], lang: str) -> None:
    """Write the page of a season.

    Raises:
        OutputError: a file that is no report has its name.
    """
    if page.exists() and not is_page(page):
        raise OutputError(f"{page}: exists and is no report of agriseg's; choose another with -o")
    files.make_folder(page.parent)
    side = next((side for most, side in _SIDES if len(flights) <= most), _SMALLEST)
    visits = [each.visit(page, side) for each in flights]
    files.write_text(page, season_page(visits, Translator(lang)))


def _small_map(record: Path, side: int) -> str:
    """A mask, shrunk, as a data URI; its pixels are some of the quick look's."""
    run = FinishedMap.of(record)
    with Image.open(io.BytesIO(class_picture(run.classes, run.legend))) as picture:
        picture.thumbnail((side, side), Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def _link(page: Path, record: Path) -> str | None:
    """From the season's page to the report of a map, if that is there."""
    report = record.with_name(f"{record.name.removesuffix(RECORD)}_report.html")
    return quote(Path(os.path.relpath(report, page.parent)).as_posix()) if report.is_file() else None


@dataclass(frozen=True)
class Line:
    """A line of the chart: `points` and `path` in its pixels."""

    name: str
    colour: str
    dash: str
    path: str
    points: tuple[tuple[float, float], ...]
    end: float


@dataclass(frozen=True)
class Chart:
    """Lines over the days; sizes and places in its pixels.

    Args:
        lines: one for each field, or for each class.
        ticks: row and text of each.
        days: column and text of each.
        affected: whether the lines are of what is affected, else of each class.
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


def season_page(visits: Sequence[TimelineEntry], words: Translator) -> str:
    """HTML; every name in it is escaped.

    Args:
        visits: at least one; of each field in any order.
        words: the language.
    """
    ordered = sorted(visits, key=lambda visit: (visit.field, visit.day, visit.numbers.made or ""))
    fields = list(dict.fromkeys(visit.field for visit in ordered))
    days = sorted({visit.day for visit in ordered})
    cells = {(field, day): [v for v in ordered if (v.field, v.day) == (field, day)] for field in fields for day in days}
    return render(
        "season.html.j2", words, fields=fields, days=days, cells=cells, visits=ordered, chart=_chart(ordered, words),
        table=_table(ordered, words),
    )  # fmt: skip


def _series(visits: Sequence[TimelineEntry]) -> dict[str, dict[date, float]]:
    """Hectares by day: of the affected classes in each field; without affected classes, of each class in all fields."""
    series: dict[str, dict[date, float]] = {}
    by_field = any(visit.numbers.affected for visit in visits)
    for visit in visits:
        numbers = visit.numbers
        if by_field:
            values: Mapping[str, float | None] = {visit.field: numbers.affected_hectares}
        else:
            values = {row.class_name: row.hectares for row in numbers.rows}
        for name, hectares in values.items():
            if hectares is not None:
                line = series.setdefault(name, {})
                line[visit.day] = hectares + (0 if by_field else line.get(visit.day, 0))
    tallest = sorted(series, key=lambda name: -max(series[name].values()))[:_MOST_LINES]
    return {name: series[name] for name in series if name in tallest}


def _chart(visits: Sequence[TimelineEntry], words: Translator) -> Chart | None:
    """Lines over the days, in hectares; None where nothing is known on two days."""
    series = _series(visits)
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
        lines.append(Line(name, colours[index], _DASHES[index // 7 % len(_DASHES)], path, points, points[-1][1]))
    ticks = [(point(first, highest * k / _TICKS)[1], words.area(highest * k / _TICKS)) for k in range(_TICKS + 1)]
    labels = _apart([(point(day, 0)[0], day.isoformat()) for day in days])
    return Chart(tuple(lines), tuple(ticks), tuple(labels), any(visit.numbers.affected for visit in visits))


def _apart(labels: list[tuple[float, str]], least: float = 80) -> list[tuple[float, str]]:
    """Those labels that have room beside the ones before."""
    shown: list[tuple[float, str]] = []
    for column, text in labels:
        if not shown or column - shown[-1][0] >= least:
            shown.append((column, text))
    return shown


def _table(visits: Sequence[TimelineEntry], words: Translator) -> Table:
    """All numbers, a row for each flight, with the change since the flight before."""
    titles = ("Field", "Date", "Mapped", "Affected", "Share", "Change (percentage points)")
    before = [None, *visits[:-1]]
    rows = tuple(_row(visit, earlier, words) for visit, earlier in zip(visits, before, strict=True))
    return Table(words("In numbers"), tuple(map(words, titles)), rows)


def _row(visit: TimelineEntry, before: TimelineEntry | None, words: Translator) -> tuple[Cell, ...]:
    numbers, share = visit.numbers, visit.numbers.affected_share
    earlier = before.numbers.affected_share if before and before.field == visit.field else None
    change = None if share is None or earlier is None else share - earlier
    return (
        (visit.field, visit.field), (visit.day.isoformat(), visit.day.isoformat()),
        (numbers.hectares, words.area(numbers.hectares)),
        (numbers.affected_hectares, words.area(numbers.affected_hectares) if numbers.affected else NOTHING),
        (share, words.percent(share)), (change, "" if change is None else f"{100 * change:+.1f}"),
    )  # fmt: skip
