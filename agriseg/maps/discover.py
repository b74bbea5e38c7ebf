"""Finds the rasters to map in a folder: each image once, without sidecars, hidden files and agriseg's own rasters."""

import datetime as dt
import re
import stat
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from agriseg.errors import AccessError, AgrisegError, InputMissing
from agriseg.files import reading_error
from agriseg.flight_date import expression_of, field_and_date, first_day, flight_date
from agriseg.raster.tags import metadata

GLOBS = ("*.tif", "*.tiff")
_PICTURE = re.compile(r"(.+)_(?:image|classes|confidence)\.png", re.IGNORECASE)
_MARK = b"AGRISEG_"  # begins the names of the metadata tags that each of agriseg's GeoTIFFs carries


@dataclass(frozen=True)
class Candidate:
    """A raster that is to be mapped.

    Args:
        name: its path below the folder that was searched, with `/`.
        field: what the farm calls it: the pattern's group `field`, or the file's stem.
        date: of the flight, ISO 8601: the pattern's group `date`, or the day in the nearest name; what cannot be read
            as one day is there as it was found; None without anything that looks like one.
    """

    path: Path
    name: str
    field: str
    date: str | None

    @property
    def day(self) -> dt.date | None:
        """The day of the flight, or of the file's last change, in the machine's time zone, where no name has one.

        None where the date that was found is not one day.

        Raises:
            OSError: the file is not there any more.
        """
        if self.date is None:
            return dt.datetime.fromtimestamp(self.path.stat().st_mtime, dt.UTC).astimezone().date()
        return dt.date.fromisoformat(self.date) if first_day(self.date) == self.date else None


@dataclass(frozen=True)
class Discovery:
    """The files of a folder; `unseen` says by name which folders and links cannot be read, and why."""

    rasters: tuple[Candidate, ...]
    passed_over: dict[str, int]
    unseen: dict[str, AgrisegError] = field(default_factory=dict)


def discover(
    folder: Path, globs: Sequence[str] = GLOBS, pattern: str | None = None, leave_out: Path | None = None
) -> Discovery:
    """Search a folder and those below it, also those behind links; each once.

    Args:
        globs: names to take, in any case; one with `/` is compared with the path below the folder.
        pattern: regular expression with the groups `field` and `date`, searched in the path below the folder.
        leave_out: a folder that is not entered: that of the outputs.

    Raises:
        InputMissing: no such folder.
        AccessError: it may not be read.
        UsageError: a pattern that is no regular expression, or has neither group.
    """
    if not folder.is_dir():
        raise InputMissing(f"{folder}: no such folder; name the one that holds the rasters")
    expression = expression_of(pattern)
    walk = _Walk(folder, leave_out)
    rasters = []
    for path in walk.files():
        name = path.relative_to(folder).as_posix()
        if kind := _other(path, name, globs):
            walk.passed_over[kind] += 1
        else:
            rasters.append(_candidate(path, name, expression))
    if "." in walk.unseen:
        raise walk.unseen["."]
    return Discovery(tuple(sorted(rasters, key=lambda each: each.name)), dict(walk.passed_over), walk.unseen)


class _Walk:
    """All files of a folder and of those below it; folders behind links come last, each folder comes once."""

    def __init__(self, folder: Path, leave_out: Path | None) -> None:
        self._folder = folder
        above = [folder.resolve(), *folder.resolve().parents]  # a link to one of these leads back
        self._seen = {_identity(each) for each in above}
        self._closed = _identity(leave_out) if leave_out and leave_out.is_dir() else None
        self._left, self._links = [folder], deque[Path]()
        self.passed_over = Counter[str]()
        self.unseen: dict[str, AgrisegError] = {}

    def files(self) -> Iterator[Path]:
        """Everything that is no folder."""
        while self._left or self._links:
            if not self._left:
                self._enter(self._links.popleft())
                continue
            for path in self._entries(self._left.pop()):
                yield from self._look(path)

    def _entries(self, folder: Path) -> list[Path]:
        try:
            return sorted(folder.iterdir())
        except OSError as error:
            self._miss(folder, error)
            return []

    def _look(self, path: Path) -> Iterator[Path]:
        """Yield a file; keep a folder for later."""
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            self._miss(path, error)
            return
        if not is_folder:
            yield path
        elif path.name.startswith("."):
            self.passed_over["hidden folders"] += 1
        elif path.is_symlink():
            self._links.append(path)
        else:
            self._enter(path)

    def _enter(self, folder: Path) -> None:
        """Keep a folder for later, unless it is that of the outputs or is searched under another name."""
        who = _identity(folder)
        if who in self._seen:
            self.passed_over["links to folders that are searched anyway"] += 1
        elif who != self._closed:
            self._seen.add(who)
            self._left.append(folder)

    def _miss(self, path: Path, error: OSError) -> None:
        """Record what cannot be read: there may be rasters in it."""
        name = path.relative_to(self._folder).as_posix()
        if path.name.startswith("."):
            self.passed_over["hidden files"] += 1
        elif isinstance(error, PermissionError):
            self.unseen[name] = AccessError(f"{path}: may not be looked into; change its permissions")
        elif path.is_symlink():
            self.passed_over["dangling links and special files"] += 1
            self.unseen[name] = InputMissing(f"{path}: a link that leads nowhere; mount its disk, or remove the link")
        else:
            self.unseen[name] = reading_error(path, error)


def _identity(folder: Path) -> tuple[int, int]:
    """The same for a folder under any name."""
    state = folder.stat()
    return state.st_dev, state.st_ino


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
    """Whether agriseg has made it: a GeoTIFF that carries its mark, or a quick look beside a record."""
    if picture := _PICTURE.fullmatch(path.name):
        return path.with_name(f"{picture[1]}_run.json").is_file()
    try:
        return _MARK in metadata(path)
    except AgrisegError:
        return False  # it will say so itself when its turn comes


def _candidate(path: Path, name: str, expression: re.Pattern[str] | None) -> Candidate:
    what, date = field_and_date(name, expression)
    return Candidate(path, name, what, date or flight_date(path.absolute()))
