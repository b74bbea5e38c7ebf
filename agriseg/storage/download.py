"""A file from an address of the user: downloaded whole, and again only if the server's file has changed."""

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
_TIMEOUT = 60  # seconds without a byte
_TICK = timedelta(seconds=2)  # a younger Last-Modified may stand for two files: it counts in seconds


def is_address(text: str) -> bool:
    """Whether a text is an address on the network."""
    return text.startswith(("http://", "https://", "s3://"))


def local_name(url: str) -> str:
    """Name of the file at an address; UsageError if the address ends in none."""
    name = Path(unquote(urlsplit(url).path)).name
    if not name:
        raise UsageError(f"{url}: the address ends in no file name; give that of the raster itself")
    return name


@dataclass(frozen=True)
class _Remote:
    """What a server says of a file, and its bytes.

    Args:
        place: its address after redirects, without a query, which may hold a key.
        length: bytes; 0 if the server does not say.
        validator: changes whenever the bytes do; empty if the server sends none.
    """

    place: str
    length: int
    validator: str
    pieces: Iterator[bytes]

    def key(self, url: str) -> str:
        """Hash that changes with the file; empty if the server does not say enough."""
        text = json_line([url, self.place, self.length, self.validator])
        return hashlib.sha256(text.encode()).hexdigest() if self.length and self.validator else ""


def download(url: str, path: Path, progress: Callable[[int, int], None]) -> Path:
    """Download the file at an http, https or s3 address to a path.

    The file of an earlier call stays if address, length and the server's validator (ETag or Last-Modified) have not
    changed; else it is replaced.

    Args:
        url: the address.
        path: of the file.
        progress: called with bytes done and bytes in all, if the server says how many there are.

    Raises:
        InputMissing: the server does not send it, or not all of it.
        OutputError: a file lies there that was not downloaded, or one that GDAL would read with it.
        StorageError: the disk did not take it.
    """
    make_folder(path.parent)
    draft, note = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.fetched")
    draft.unlink(missing_ok=True)
    try:
        with _open(url) as remote:
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
    write_text(note, json_line([key, *_state(draft)]))  # before the file has its name
    commit(draft, path)
    return path


def _noted(note: Path, path: Path) -> str | None:
    """The key of a downloaded file, may be empty; None if it is not there, or has been written since."""
    try:
        key, *state = json.loads(note.read_text("utf-8"))
        return str(key) if state == _state(path) else None
    except (OSError, ValueError, TypeError):
        return None


def _state(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _check_free(path: Path, *, is_ours: bool) -> None:
    """Refuse to replace another file, or to write beside one that GDAL would read with the downloaded file."""
    if path.exists() and not is_ours:
        raise OutputError(f"{path}: is there, and is not what was fetched; move it away, or choose another -o")
    for each in files_beside(path):
        if hash_of(each) is not None:
            raise OutputError(f"{each}: would be read with the file that is fetched; move it, or choose another -o")


@contextmanager
def _open(url: str) -> Iterator[_Remote]:
    if url.startswith("s3://"):
        from agriseg.storage.s3 import open_object

        yield _Remote(url, *open_object(url))
        return
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 (http or https: `is_address`)
        place = urlsplit(answer.geturl())._replace(query="", fragment="").geturl()
        length = int(answer.headers.get("Content-Length") or 0)
        yield _Remote(place, length, _validator(answer.headers), iter(lambda: answer.read(_PIECE), b""))


def _validator(headers: http.client.HTTPMessage) -> str:
    """A strong one (RFC 9110, section 8.8): a weak ETag stands for the same meaning, not for the same bytes."""
    etag, changed, now = (headers.get(name) or "" for name in ("ETag", "Last-Modified", "Date"))
    if etag and not etag.startswith("W/"):
        return etag
    try:
        return changed if parsedate_to_datetime(now) - parsedate_to_datetime(changed) >= _TICK else ""
    except (ValueError, TypeError):  # one with a time zone, the other without
        return ""


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
