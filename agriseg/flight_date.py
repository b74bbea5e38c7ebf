"""The field and the date of a flight, read from the names of files and folders."""

import datetime as dt
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agriseg.errors import UsageError

_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
DATE = re.compile(
    rf"""(?<!\d)(?:
        (?P<year>{_YEAR})(?P<sep>[-_./]?)(?P<month>{_MONTH})(?P=sep)(?P<day>{_DAY})  # 2026-05-01, 20260501
        (?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?  # 20260501063000, as DJI has it
        |
        (?P<one>\d\d?)(?P<mark>(?P<point>\.)|[-_/])(?P<two>\d\d?)(?P=mark)(?P<last>{_YEAR})  # 01.05.2026
        (?!(?P=mark){_MONTH}(?P=mark){_DAY}(?!\d))(?(point)|(?!-{_MONTH}-{_DAY}(?!\d)))  # but not 7_3_2026-05-01
        |
        (?P<dd>[0-3]\d)(?P<mm>[0-3]\d)(?P<yyyy>{_YEAR})  # 01052026
    )(?!\d)""",
    re.VERBOSE,
)
"""What looks like a day in a name."""


def flight_date(path: Path) -> str | None:
    """The day of a flight, ISO 8601, in the names of the file or of the two folders above; or of folders 2026/05/01."""
    return _nearest_day([path.name, path.parent.name, path.parent.parent.name, "/".join(path.parts[-4:])])


def first_day(text: str) -> str | None:
    """The first day of the calendar in a text, ISO 8601.

    With points between the numbers the day comes first. With other marks, or none, a year at the end leaves open
    whether it is the day or the month: 15-05-2026 is one day, 05-06-2026 may be two and is none. 2026-02-31 is none.
    """
    return next(filter(None, map(_day_of, DATE.finditer(text))), None)


def _nearest_day(names: Iterable[str]) -> str | None:
    return next(filter(None, map(first_day, names)), None)


def _day_of(found: re.Match[str]) -> str | None:
    """The one day that a match of `DATE` can be."""
    if found["year"]:
        return _iso(found["year"], found["month"], found["day"])
    one, two, year = found.group("one", "two", "last") if found["mark"] else found.group("dd", "mm", "yyyy")
    days = {_iso(year, two, one), None if found["point"] else _iso(year, one, two)} - {None}
    return days.pop() if len(days) == 1 else None


def _iso(year: str, month: str, day: str) -> str | None:
    with suppress(ValueError):
        return dt.date(int(year), int(month), int(day)).isoformat()
    return None


def expression_of(pattern: str | None) -> re.Pattern[str] | None:
    """A compiled pattern; UsageError if it is no regular expression or has neither of the groups `field` and `date`."""
    if pattern is None:
        return None
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--pattern {pattern}: no regular expression ({error})") from error
    if not {"field", "date"} & set(expression.groupindex):
        raise UsageError(rf"--pattern {pattern}: it names nothing; write such as (?P<field>[^/]+)/(?P<date>\d+)")
    return expression


def field_and_date(name: str, expression: re.Pattern[str] | None) -> tuple[str, str | None]:
    """The field and the date of the flight by a path below a folder; a date is ISO 8601 if it is a day."""
    match = expression.search(name) if expression else None
    groups = match.groupdict() if match else {}
    field = groups.get("field") or Path(name).stem
    if date := groups.get("date"):
        return field, first_day(date) or date
    names = [*reversed(Path(name).parts), name]  # the file's own first; the whole path has days such as 2026/05/01
    odd = next(filter(None, map(DATE.search, names)), None)
    return field, _nearest_day(names) or (odd[0] if odd else None)
