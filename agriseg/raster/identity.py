"""What an input is: a raster together with all files beside it that GDAL opens for it.

A mask, a world file, overviews or a `.aux.xml` change a raster as much as its own bytes do. So all of them belong to
its identity, and a new or a missing one is a change. Files that only describe a picture (`.imd`, `.pvl`, `.xml`)
change no pixel, place or mask, and do not count.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import rasterio

from agriseg.errors import AgrisegError
from agriseg.files import reading_error
from agriseg.json_text import json_line
from agriseg.raster.pam import PAM, meaning
from agriseg.raster.safe_open import open_raster

_BEHIND = (".msk", ".ovr", PAM, ".aux", ".rrd")  # behind the whole name: masks, overviews, PAM, overviews of ERDAS
_WORLD = (".wld", ".tfw", ".tifw", ".tiffw", ".jgw", ".jpw", ".jpgw", ".jpegw", ".pgw", ".pngw")
_INSTEAD = (*_WORLD, ".tab", ".prj", ".aux", ".rpb", ".rpc", "_rpc.txt")  # instead of the suffix
_SMALL = 2**20  # bytes of a file beside a raster that is read to see whether it has changed

Listing = Mapping[str, Sequence[str]]
"""Names of a folder's files by their lower case; GDAL does not tell the cases apart."""


def listing(folder: Path, start: str = "") -> Listing:
    """The names in a folder that begin so, in any case; none if it is not there.

    A folder may hold 100,000 files and is listed for each of them, so the other names are only compared.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208  (a path for each name takes ten times as long)
    except OSError:
        return {}
    found: dict[str, list[str]] = {}
    for name in sorted(name for name in names if name.lower().startswith(start.lower())):
        found.setdefault(name.lower(), []).append(name)
    return found


def files_beside(path: Path, names: Listing | None = None) -> list[Path]:
    """The files that GDAL opens with a raster, in order.

    Args:
        path: of the raster itself, not of a link to it.
        names: `listing` of its folder, if the caller has it.
    """
    behind = [f"{path.name}{one}{other}" for one, other in product(_BEHIND, ("", *_BEHIND))]
    return existing(path, [*behind, *(f"{path.stem}{end}" for end in _INSTEAD)], names)


def existing(path: Path, candidates: Iterable[str], names: Listing | None = None) -> list[Path]:
    """Files beside another file that have one of these names, in any case; each begins with the stem of that file."""
    names = listing(path.parent, path.stem) if names is None else names
    found = {name for each in candidates for name in names.get(each.lower(), ()) if name != path.name}
    return [path.with_name(name) for name in sorted(found) if path.with_name(name).is_file()]


def raster_files(path: Path, names: Listing | None = None) -> list[Path]:
    """A raster, or the target of a link, and the files that GDAL opens with it."""
    path = Path(os.path.realpath(path))  # a link to itself is no error here: it is no file
    return [path, *files_beside(path, names)]


@dataclass(frozen=True)
class FileStamp:
    """What changes when a file, or one that belongs to it, is written again; large files are not read.

    Args:
        size, mtime_ns, inode: of the file itself: bytes, ns since 1970.
        beside: names of the files that belong to it, each with a hash of its meaning, or with its size and time if
            it is large. A `.aux.xml` that only holds statistics is none of them.
        newest_ns: when any of these files was written last; is not compared.
    """

    size: int
    mtime_ns: int
    inode: int
    beside: tuple[tuple[str, str], ...] = ()
    newest_ns: int = field(default=0, compare=False)

    @classmethod
    def of(cls, path: Path, names: Listing | None = None) -> "FileStamp":
        """The stamp of a raster as it is now; `names` as for `files_beside`. OSError if it is not there."""
        return cls.of_files(raster_files(path, names))

    @classmethod
    def of_files(cls, paths: Sequence[Path]) -> "FileStamp":
        """The stamp of a file, the first, and of those that belong to it."""
        first, *others = paths
        state = first.stat()
        marks = {path: _mark(path) for path in others}
        newest = max([state.st_mtime_ns, *(mark[1] for mark in marks.values() if mark)])
        beside = tuple((role(path, first), mark[0]) for path, mark in marks.items() if mark and mark[0])
        return cls(state.st_size, state.st_mtime_ns, state.st_ino, beside, newest)

    @property
    def text(self) -> str:
        """Size, time and the files beside it as text; the same on every machine that sees the file."""
        return json_line([self.size, self.mtime_ns, self.beside])


def _mark(path: Path) -> tuple[str, int] | None:
    """What changes with a file, empty if the file means nothing, and its time (ns); None if it has just gone."""
    try:
        state = path.stat()
        is_read = state.st_size <= _SMALL and os.access(path, os.R_OK)
        mark = (hash_of(path) or "") if is_read else f"{state.st_size} bytes of {state.st_mtime_ns}"
    except FileNotFoundError:
        return None
    except OSError as error:
        raise reading_error(path, error) from error
    return mark, state.st_mtime_ns


def role(path: Path, first: Path) -> str:
    """The end of a file's name that says what it is to the file it belongs to; `*` is the whole name of that one."""
    name, whole = path.name, first.name
    if name.lower().startswith(f"{whole.lower()}."):
        return f"*{name[len(whole) :]}"
    return "" if name == whole else name[len(first.stem) :]


def hash_of(path: Path) -> str | None:
    """SHA-256 of a file's bytes, or of the meaning of a `.aux.xml`, None if that is empty; OSError if unreadable."""
    if path.name.lower().endswith(PAM) and path.stat().st_size <= _SMALL:
        data = path.read_bytes()
        meant = meaning(data, _own_names(path) if b"<Description>" in data else {})
        return hashlib.sha256(meant).hexdigest() if meant else None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_names(pam: Path) -> dict[str, str]:
    """Names of bands that a raster has without its `.aux.xml`, by number."""
    raster = pam.with_name(pam.name[: -len(PAM)])
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), open_raster(raster) as dataset:
            return {str(number): name for number, name in enumerate(dataset.descriptions, 1) if name}
    except AgrisegError:
        return {}


@dataclass(frozen=True)
class InputFile:
    """One file of an input: its name, its size in bytes, and its `hash_of`."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class InputIdentity:
    """What an input is, by content: the raster first, then the files beside it that mean something."""

    files: tuple[InputFile, ...]

    @classmethod
    def of(cls, path: Path) -> "InputIdentity":
        """Read a raster and the files beside it; StorageError if one cannot be read to its end."""
        return cls.of_files(raster_files(path))

    @classmethod
    def of_files(cls, paths: Sequence[Path]) -> "InputIdentity":
        """Read a file, the first, and those that belong to it."""
        files = []
        for path in paths:
            try:
                sha256, size = hash_of(path), path.stat().st_size
            except OSError as error:
                raise reading_error(path, error) from error
            files += [] if sha256 is None else [InputFile(path.name, size, sha256)]
        return cls(tuple(files))

    @property
    def digest(self) -> str:
        """SHA-256 of it all; the same when the files have moved, or have been renamed together."""
        return hashlib.sha256(json_line(sorted(self._parts)).encode()).hexdigest()

    def differs(self, other: "InputIdentity") -> str | None:
        """Name of a file, of either, that is missing or different in the other; None if both are the same."""
        odd = sorted(self._parts.keys() ^ other._parts.keys())
        return {**other._parts, **self._parts}[odd[0]] if odd else None

    @property
    def _parts(self) -> dict[tuple[str, str], str]:
        """Role and hash of each file to its name."""
        first = Path(self.files[0].name)
        return {(role(Path(each.name), first), each.sha256): each.name for each in self.files}
