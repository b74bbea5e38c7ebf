"""A file from an address that a person has typed: fetched whole, and again only if the server has another one now."""

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agriseg.errors import InputMissing, OutputError, UsageError
from agriseg.files import commit, make_folder, storage_error, write_text
from agriseg.json_text import json_line
from agriseg.raster.identity import files_beside, hash_of

_PIECE = 1 << 20
_PATIENCE = 60  # seconds without a byte
_TICK = timedelta(seconds=2)  # a time that is no older may stand for two files: it counts in seconds


def is_address(text: str) -> bool:
    """Whether a person means a place on the network."""
    return text.startswith(("http://", "https://", "s3://"))


def local_name(url: str) -> str:
    """What the file behind an address is called.

    Raises:
        UsageError: the address ends in no name.
    """
    name = Path(unquote(urlsplit(url).path)).name
    if not name:
        raise UsageError(f"{url}: the address ends in no file name; give that of the raster itself")
    return name


@dataclass(frozen=True)
class _Remote:
    """What a server says of a file, and its bytes.

    Args:
        place: where it was found in the end, without a query, which may hold a key.
        length: bytes; 0 if the server does not say.
        validator: changes whenever the bytes do; empty if the server gives nothing of that kind.
        pieces: the bytes.
    """

    place: str
    length: int
    validator: str
    pieces: Iterator[bytes]

    def key(self, url: str) -> str:
        """What a copy of it is known by; empty if nobody can tell whether that is still the same."""
        told = json_line([url, self.place, self.length, self.validator])
        return hashlib.sha256(told.encode()).hexdigest() if self.length and self.validator else ""


def download(url: str, path: Path, progress: Callable[[int, int], None]) -> Path:
    """The file behind an address, as a file on this machine.

    One that an earlier call has left there is taken if address, length and the server's validator (ETag or
    Last-Modified) are still what they were; else it is replaced.

    Args:
        url: http, https or s3.
        path: where the file goes.
        progress: called with bytes done and bytes in all, when the server says how many there are.

    Raises:
        InputMissing: the server does not give it, or not all of it.
        OutputError: a file lies there that was not fetched, or one that GDAL would read with it.
        StorageError: the disk did not take it.
    """
    make_folder(path.parent)
    draft, note = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.fetched")
    draft.unlink(missing_ok=True)
    try:
        with _open_object(url) if url.startswith("s3://") else _open_page(url) as remote:
            key = remote.key(url)
            known = _noted(note, path)
            if key and known == key:
                return path
            _check_free(path, is_ours=known is not None)
            _store(remote.pieces, remote.length, draft, progress)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        draft.unlink(missing_ok=True)
        there = f"; {path} is what was fetched before: give that to go on with it" if path.exists() else ""
        raise InputMissing(
            f"{url}: cannot be fetched ({error}){there or '; check the address, or fetch the file yourself'}"
        ) from error
    write_text(note, json_line([key, *_state(draft)]))  # before the file has its name: it vouches for no other
    commit(draft, path)
    return path


def _noted(note: Path, path: Path) -> str | None:
    """The key of a file that was fetched, may be empty; None if it is not there, or somebody else wrote it."""
    try:
        told = json.loads(note.read_text("utf-8"))
        return str(told[0]) if told[1:] == _state(path) else None
    except (OSError, ValueError, TypeError, IndexError):
        return None


def _state(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _check_free(path: Path, *, is_ours: bool) -> None:
    """Refuse to write over somebody's file, or beside one that would be read with what is fetched."""
    if path.exists() and not is_ours:
        raise OutputError(f"{path}: is there, and is not what was fetched; move it away, or choose another -o")
    for each in files_beside(path):
        if hash_of(each) is not None:
            raise OutputError(f"{each}: would be read with the file that is fetched; move it, or choose another -o")


@contextmanager
def _open_page(url: str) -> Iterator[_Remote]:
    """A file on the web."""
    with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310 (http or https: `is_address`)
        place = urlsplit(answer.geturl())._replace(query="", fragment="").geturl()
        length = int(answer.headers.get("Content-Length") or 0)
        yield _Remote(place, length, _validator(answer.headers), iter(lambda: answer.read(_PIECE), b""))


def _validator(headers: http.client.HTTPMessage) -> str:
    """A strong one (RFC 9110, section 8.8): a weak ETag is of files that mean the same, not of the same bytes."""
    etag, changed, now = (headers.get(name) or "" for name in ("ETag", "Last-Modified", "Date"))
    if etag and not etag.startswith("W/"):
        return etag
    try:
        return changed if parsedate_to_datetime(now) - parsedate_to_datetime(changed) >= _TICK else ""
    except (ValueError, TypeError):  # one with a time zone, the other without
        return ""


@contextmanager
def _open_object(url: str) -> Iterator[_Remote]:
    """An object in a bucket."""
    from agriseg.storage.s3 import open_object

    length, validator, pieces = open_object(url)
    yield _Remote(url, length, validator, pieces)


def _store(pieces: Iterator[bytes], total: int, draft: Path, progress: Callable[[int, int], None]) -> None:
    done = 0
    try:
        with draft.open("xb") as file:
            for piece in pieces:
                file.write(piece)
                done += len(piece)
                if total:
                    progress(done, total)
    except OSError as error:
        if isinstance(error, (urllib.error.URLError, TimeoutError, ConnectionError)):
            raise
        raise storage_error(draft, error) from error
    if done < total:
        raise http.client.IncompleteRead(b"", total - done)
