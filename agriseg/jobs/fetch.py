"""A raster from an address that a person has typed: fetched once, whole, before anything else is done."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agriseg.errors import InputMissing, UsageError
from agriseg.files import commit, make_folder, storage_error

_PIECE = 1 << 20
_PATIENCE = 60  # seconds without a byte


def is_address(text: str) -> bool:
    """Whether a person means a place on the network."""
    return text.startswith(("http://", "https://"))


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
        url: http or https.
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
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310 (http or https: `is_address`)
            _store(answer, draft, progress)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        draft.unlink(missing_ok=True)
        raise InputMissing(
            f"{url}: cannot be fetched ({error}); check the address, or fetch the file yourself"
        ) from error
    commit(draft, path)
    return path


def _store(answer: http.client.HTTPResponse, draft: Path, progress: Callable[[int, int], None]) -> None:
    total, done = int(answer.headers.get("Content-Length") or 0), 0
    try:
        file = draft.open("xb")
    except OSError as error:
        raise storage_error(draft, error) from error
    with file:
        while piece := answer.read(_PIECE):
            try:
                file.write(piece)
            except OSError as error:
                raise storage_error(draft, error) from error
            done += len(piece)
            if total:
                progress(done, total)
    if done < total:
        raise http.client.IncompleteRead(b"", total - done)
