"""A raster from an address that a person has typed: fetched once, whole, before anything else is done."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agriseg.errors import InputMissing, UsageError
from agriseg.files import commit, make_folder, storage_error

_PIECE = 1 << 20
_PATIENCE = 60  # seconds without a byte


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


def fetch(url: str, folder: Path, progress: Callable[[int, int], None]) -> Path:
    """The file behind an address, in a folder; one that is there already is taken as it is.

    Args:
        url: http, https or s3.
        folder: where the file goes, under the name it has there.
        progress: called with bytes done and bytes in all, when the server says how many there are.

    Raises:
        InputMissing: the server does not give it, or not all of it.
        StorageError: the disk did not take it.
    """
    path = folder / local_name(url)
    if path.exists():
        return path
    make_folder(folder)
    draft = path.with_name(f".{path.name}.part")
    draft.unlink(missing_ok=True)
    try:
        with _open_object(url) if url.startswith("s3://") else _open_page(url) as (total, pieces):
            _store(pieces, total, draft, progress)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        draft.unlink(missing_ok=True)
        raise InputMissing(
            f"{url}: cannot be fetched ({error}); check the address, or fetch the file yourself"
        ) from error
    commit(draft, path)
    return path


@contextmanager
def _open_page(url: str) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Bytes of a file on the web: how many, 0 if the server does not say, and they themselves."""
    with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310 (http or https: `is_address`)
        yield int(answer.headers.get("Content-Length") or 0), iter(lambda: answer.read(_PIECE), b"")


@contextmanager
def _open_object(url: str) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Bytes of an object in a bucket."""
    from agriseg.raster.bucket import open_object

    yield open_object(url)


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
