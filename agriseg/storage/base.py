"""Where a run keeps what it needs while it lasts: bytes by name, in a folder or in a bucket.

Names are parts joined by `/`. What is put has to check itself when it comes back: a kill may cut it short.
"""

import shutil
from pathlib import Path
from typing import Any, Protocol

from agriseg.errors import AgrisegError
from agriseg.files import storage_error

UNDER_WAY = "under_way"
"""Below it, by who works there, the window of the first tile of the batch that is in the network."""


class Storage(Protocol):
    """Bytes by name; any process that knows its address works in the same place."""

    @property
    def address(self) -> str:
        """What `storage_at` takes."""

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """What comes out of it when the disk or the network fails."""

    def zarr_store(self, name: str) -> Any:
        """What lies below a name, for zarr."""

    def put(self, name: str, data: bytes) -> None:
        """Keep bytes, in the stead of what had that name.

        Raises:
            StorageError: they were not taken.
        """

    def get(self, name: str) -> bytes | None:
        """What has that name; None if nothing has."""

    def names(self, folder: str) -> list[str]:
        """Last parts of the names right below one, in no order."""

    def delete(self, folder: str) -> None:
        """Forget a name and all below it."""

    def to_error(self, error: BaseException) -> AgrisegError:
        """The error to show for one of `troubles` while something was put."""


class FolderStorage:
    """A place on a disk.

    Args:
        path: of the folder, which is there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def errors(self) -> tuple[type[BaseException], ...]:
        """The operating system's."""
        return (OSError,)

    @property
    def address(self) -> str:
        """The path, from the root."""
        return str(self._path.absolute())

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
                self._path.stat()  # a place that is gone is not made again by a worker that nobody waits for
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
    """The place behind an address: a path, or `s3://BUCKET/PREFIX`.

    Raises:
        UsageError: the address names no bucket, or the extra `s3` is not installed.
    """
    if address.startswith("s3://"):
        from agriseg.storage.s3 import BucketStorage

        return BucketStorage(address)
    return FolderStorage(Path(address))
