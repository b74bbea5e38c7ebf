"""Files that exist only when they are complete: written beside the target, then renamed."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from agriseg.errors import AccessError, AgrisegError, BusyError, OutputError, StorageError


def commit(draft: Path, final: Path) -> None:
    """Give a finished draft its final name, durably: flush the file, rename it, flush its folder.

    Raises:
        StorageError: the disk did not take it.
    """
    try:
        _flush(draft)
        draft.replace(final)
        _flush(final.parent)
    except OSError as error:
        raise storage_error(final, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a small UTF-8 file so that its name never stands for half of it."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it."""
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:
            file.write(data)
        commit(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise storage_error(path, error) from error


def make_folder(path: Path) -> None:
    """Make an output folder with its parents.

    Raises:
        OutputError: something else has that name.
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
    """SHA-256 of a file.

    Raises:
        StorageError: it cannot be read to its end.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise reading_error(path, error) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock; the system lets go of it when its owner is killed. The file is gone afterwards.

    Raises:
        BusyError: somebody holds it.
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
    """Delete files and folders, those that are there.

    Raises:
        StorageError: the system does not let one go.
    """
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(path, error) from error


def storage_error(path: Path, error: OSError) -> AgrisegError:
    """The error to show when the operating system refused to write."""
    if isinstance(error, AgrisegError):
        return error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessError(f"{path}: may not be written ({error.strerror}); choose another place with -o")
    return StorageError(f"{path}: cannot be written ({error.strerror}); check the disk")


def reading_error(path: Path, error: OSError) -> StorageError:
    """The error to show when the operating system began to read a file, and failed."""
    return StorageError(f"{path}: cannot be read ({error.strerror}); check the disk")


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
