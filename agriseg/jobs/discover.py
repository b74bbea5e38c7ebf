"""Which files of a folder are rasters to map: images once; sidecars, hidden files and agriseg's own maps never."""

import datetime as dt
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from agriseg.errors import InputMissing, UsageError

GLOBS = ("*.tif", "*.tiff")
DATE = re.compile(r"(?<!\d)(20\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)")
"""A day in a name; 20260501, 2026-05-01 and the like."""
_OUTPUT = re.compile(r"_(classes|confidence|probabilities)\.tif$", re.IGNORECASE)
_MARK = b"AGRISEG_MODEL"  # in the metadata tag that each of agriseg's GeoTIFFs carries
_HEAD = 65536  # bytes; a COG's tags come first


@dataclass(frozen=True)
class Candidate:
    """A raster that is to be mapped.

    Args:
        path: of the file.
        name: its path below the folder that was searched, with `/`.
        field: what the farm calls it: the pattern's group `field`, or the file's stem.
        date: of the flight, ISO 8601: the pattern's group `date`, or the first date in the name; None without one.
    """

    path: Path
    name: str
    field: str
    date: str | None

    @property
    def day(self) -> dt.date:
        """The day of the flight; that of the file's last change where the name has none."""
        if self.date and first_day(self.date) == self.date:
            return dt.date.fromisoformat(self.date)
        return dt.datetime.fromtimestamp(self.path.stat().st_mtime, dt.UTC).date()


@dataclass(frozen=True)
class Discovery:
    """What a folder holds.

    Args:
        rasters: to map, in the order of their names.
        passed_over: how many other files there are, by kind.
    """

    rasters: tuple[Candidate, ...]
    passed_over: dict[str, int]


def discover(
    folder: Path, globs: Sequence[str] = GLOBS, pattern: str | None = None, leave_out: Path | None = None
) -> Discovery:
    """Search a folder and those below it.

    Args:
        folder: where to look.
        globs: names to take, in any case; one with `/` is compared with the path below the folder.
        pattern: regular expression with the groups `field` and `date`, searched in the path below the folder.
        leave_out: a folder that is not entered: that of the outputs.

    Raises:
        InputMissing: no such folder.
        UsageError: a pattern that is no regular expression, or has neither group.
    """
    if not folder.is_dir():
        raise InputMissing(f"{folder}: no such folder; name the one that holds the rasters")
    expression = expression_of(pattern)
    rasters, others = [], Counter[str]()
    for path in _files(folder, leave_out):
        name = path.relative_to(folder).as_posix()
        if kind := _other(path, name, globs):
            others[kind] += 1
        else:
            rasters.append(Candidate(path, name, *field_and_date(name, expression)))
    return Discovery(tuple(sorted(rasters, key=lambda each: each.name)), dict(others))


def flight_date(path: Path) -> str | None:
    """The day of a flight, ISO 8601: the first date in the file's name, or in that of one of the two folders above."""
    for name in (path.name, path.parent.name, path.parent.parent.name):
        if day := first_day(name):
            return day
    return None


def first_day(text: str) -> str | None:
    """The first day of the calendar in a text, ISO 8601; 2026-02-31 is none."""
    for found in DATE.finditer(text):
        with suppress(ValueError):
            return dt.date(*map(int, found.groups())).isoformat()
    return None


def _files(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    """Everything that is no folder; hidden folders are not entered."""
    closed = leave_out.resolve() if leave_out else None
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [each for each in folders if not each.startswith(".") and (here / each).resolve() != closed]
        yield from (here / name for name in names)


def _other(path: Path, name: str, globs: Sequence[str]) -> str | None:
    """Why a file is not to be mapped; None if it is."""
    if path.name.startswith("."):
        return "hidden files"
    if not any(fnmatch((name if "/" in glob else path.name).lower(), glob.lower()) for glob in globs):
        return "sidecars and other files"
    if not path.is_file():
        return "dangling links and special files"
    return "maps of agriseg" if _is_output(path) else None


def _is_output(path: Path) -> bool:
    """Whether it is named as a map of agriseg's and carries its mark."""
    if not _OUTPUT.search(path.name):
        return False
    try:
        with path.open("rb") as file:
            return _MARK in file.read(_HEAD)
    except OSError:
        return False  # it will say so itself when its turn comes


def expression_of(pattern: str | None) -> re.Pattern[str] | None:
    """A pattern with the groups `field` and `date`, compiled.

    Raises:
        UsageError: no regular expression, or it has neither group.
    """
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
    """What a path below a folder tells: the field, and the date of the flight; see `Candidate`."""
    found = expression.search(name) if expression else None
    groups = found.groupdict() if found else {}
    field, told = groups.get("field"), groups.get("date") or name
    return field or Path(name).stem, first_day(told) or groups.get("date")
