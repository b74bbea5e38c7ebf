"""A timeline of several finished maps: field and date of each, and their page."""

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
from agriseg.maps.reader import FinishedMap
from agriseg.maps.record import RECORD
from agriseg.reports.map_summary import MapSummary
from agriseg.reports.report import finished_run, is_page
from agriseg.reports.timeline_page import TimelineEntry, season_page
from agriseg.reports.translations import Translator

_SIDES = ((150, 128), (600, 64))  # up to so many visits: px of a small map
_SMALLEST = 32


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
