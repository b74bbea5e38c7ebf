"""The page of a timeline: fields by dates with small maps, and a chart of the affected area."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from agriseg.legend import Legend
from agriseg.reports.html import Cell, Table, render
from agriseg.reports.map_summary import MapSummary
from agriseg.reports.translations import NOTHING, Translator

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
