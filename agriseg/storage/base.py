"""Storage of the checkpoint of a run: bytes by name, in a folder or in a bucket.

Names are parts joined by `/`. A kill may cut an object short, so each object needs a checksum of its own.
"""

import shutil
from pathlib import Path
from typing import Any, Protocol

from agriseg.errors import AgrisegError
from agriseg.files import storage_error

UNDER_WAY = "under_way"
"""Below it, by worker, the window of the first tile of the batch in the network."""


class Storage(Protocol):
    """Bytes by name; processes with the same address share it."""

    address: str
    """What `storage_at` takes."""
    errors: tuple[type[BaseException], ...]
    """Exceptions that it raises when the disk or the network fails."""

    def zarr_store(self, name: str) -> Any:
        """The zarr store below a name."""

    def put(self, name: str, data: bytes) -> None:
        """Store bytes, replacing those of that name; StorageError if that fails."""

    def get(self, name: str) -> bytes | None:
        """The bytes of a name; None if there are none."""

    def names(self, folder: str) -> list[str]:
        """Last parts of the names right below one, in no order."""

    def delete(self, folder: str) -> None:
        """Delete a name and all names below it."""

    def to_error(self, error: BaseException) -> AgrisegError:
        """The error for the user, for one of `errors`."""


class FolderStorage:
    """Storage in a folder that exists."""

    errors: tuple[type[BaseException], ...] = (OSError,)

    def __init__(self, path: Path) -> None:
        self._path = path
        self.address = str(path.absolute())

    def zarr_store(self, name: str) -> Any:
        """See `Storage`."""
        return self._path / name

    def put(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        path = self._path / name
        try:
            try:
                path.write_bytes(data)
            except FileNotFoundError:
                self._path.stat()  # a worker of a run that is over does not make a deleted folder again
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        except OSError as error:
            raise storage_error(path, error) from error

    def get(self, name: str) -> bytes | None:
        """See `Storage`."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        try:
            return [path.name for path in (self._path / folder).iterdir()]
        except FileNotFoundError:
            return []

    def delete(self, folder: str) -> None:
        """See `Storage`."""
        path = self._path / folder
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def to_error(self, error: BaseException) -> AgrisegError:
        """See `Storage`."""
        return storage_error(self._path, error) if isinstance(error, OSError) else AgrisegError(str(error))


def storage_at(address: str) -> Storage:
    """The storage at a path or at `s3://BUCKET/PREFIX`.

    Raises:
        UsageError: the address names no bucket, or the extra `s3` is not installed.
    """
    if address.startswith("s3://"):
        from agriseg.storage.s3 import BucketStorage

        return BucketStorage(address)
    return FolderStorage(Path(address))
