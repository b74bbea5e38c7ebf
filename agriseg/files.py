"""Atomic output files: written beside the target, then renamed; locks, hashes and errors of files."""

import csv
import errno
import hashlib
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from agriseg.errors import AccessError, AgrisegError, BusyError, OutputError, StorageError

_BYTE_ORDER_MARK = "\ufeff"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def commit(draft: Path, final: Path) -> None:
    """Flush a finished draft, a file or a folder, rename it, and flush its folder; StorageError if that fails."""
    try:
        for path in (*draft.rglob("*"), draft) if draft.is_dir() else (draft,):
            _flush(path)
        draft.replace(final)
        _flush(final.parent)
    except OSError as error:
        raise storage_error(final, error) from error


@contextmanager
def draft_of(final: Path) -> Iterator[Path]:
    """A path beside `final` for its draft, a file or a folder.

    When the block ends, the draft replaces `final`; when it fails, the draft is deleted. A kill leaves a hidden draft,
    which the next one replaces. StorageError if the disk fails.
    """
    draft, old = (final.with_name(f".{final.stem}.{word}{final.suffix}") for word in ("part", "old"))
    try:
        remove((draft, old))
        yield draft
        if draft.is_dir() and final.is_dir():  # a folder is not renamed over another
            final.rename(old)
        commit(draft, final)
    except OSError as error:
        raise storage_error(final, error) from error
    finally:
        with suppress(OSError):
            remove((draft, old))


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """`make_folder`, and at the end delete the folder if it is new and still empty."""
    is_new = not folder.exists()
    make_folder(folder)
    try:
        yield
    finally:
        if is_new:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a small UTF-8 file; the name never stands for half of it."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file; the name never stands for half of it."""
    with draft_of(path) as draft, draft.open("xb") as file:
        file.write(data)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """A table as CSV for spreadsheets; None is an empty cell.

    It begins with a byte order mark, without which Excel does not read UTF-8. Text that a spreadsheet would take for a
    formula gets an apostrophe before it (OWASP, "CSV Injection").
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return _BYTE_ORDER_MARK + text.getvalue()


def _cell(value: str | float | None) -> str | float | None:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def make_folder(path: Path) -> None:
    """Create an output folder with its parents.

    Raises:
        OutputError: a file has that name.
        AccessError: the operating system forbids it.
        StorageError: the disk is full or fails.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):  # has no name that a kill could leave behind
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{path}: cannot be a folder, a file stands there; choose another with -o") from error
    except OSError as error:
        raise storage_error(path, error) from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file; StorageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise reading_error(path, error) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which is deleted at the end; BusyError if another process holds it.

    The system releases the lock when its owner is killed.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(
            f"{path.parent}: another run writes the same outputs; wait for it, or choose another -o"
        ) from error
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def remove(paths: Iterable[Path]) -> None:
    """Delete the files and folders that exist; StorageError if one cannot be deleted."""
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(path, error) from error


def exists_error(path: Path) -> OutputError:
    """The error of an output that exists and may not be replaced."""
    return OutputError(f"{path}: exists and is not overwritten; add --overwrite or choose another place")


def storage_error(path: Path, error: OSError) -> AgrisegError:
    """The error of a failed write."""
    if isinstance(error, AgrisegError):
        return error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessError(f"{path}: may not be written ({error.strerror}); choose another place with -o")
    return StorageError(f"{path}: cannot be written ({error.strerror}); check the disk")


def reading_error(path: Path, error: OSError) -> StorageError:
    """The error of a failed read."""
    return StorageError(f"{path}: cannot be read ({error.strerror}); check the disk")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
