"""Storage in a bucket of an S3 server, for workers that share no disk.

Key, region and endpoint come from the environment variables of AWS (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...).
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from zarr.storage import ObjectStore

from agriseg.errors import AgrisegError, InputMissing, StorageError, UsageError

try:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store
except ImportError as error:
    raise UsageError("s3:// needs the package obstore; install agriseg[s3]") from error

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import RetryConfig

_ERRORS = (BaseError, OSError)


class BucketStorage:
    """See `Storage`; UsageError if the address is not `s3://BUCKET/PREFIX`."""

    errors: tuple[type[BaseException], ...] = _ERRORS

    def __init__(self, address: str) -> None:
        self.address = address
        self._bucket, self._prefix = _parts(address, "PREFIX")
        self._store = _bucket(self._bucket, self._prefix)

    def zarr_store(self, name: str) -> Any:
        """See `Storage`."""
        return ObjectStore(_bucket(self._bucket, f"{self._prefix}/{name}"))

    def put(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        try:
            obstore.put(self._store, name, data)
        except _ERRORS as error:
            raise self.to_error(error) from error

    def get(self, name: str) -> bytes | None:
        """See `Storage`."""
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None
        except _ERRORS as error:
            raise self.to_error(error) from error

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        try:
            listed = obstore.list_with_delimiter(self._store, f"{folder}/")
        except _ERRORS as error:
            raise self.to_error(error) from error
        below = [*listed["common_prefixes"], *(str(each["path"]) for each in listed["objects"])]
        return [path.rstrip("/").rpartition("/")[2] for path in below]

    def delete(self, folder: str) -> None:
        """See `Storage`."""
        try:
            for batch in obstore.list(self._store, f"{folder}/"):
                obstore.delete(self._store, [each["path"] for each in batch])
            obstore.delete(self._store, folder)
        except FileNotFoundError:
            return
        except _ERRORS as error:
            raise self.to_error(error) from error

    def to_error(self, error: BaseException) -> AgrisegError:
        """See `Storage`."""
        return StorageError(
            f"{self.address}: the S3 server does not answer as it should ({_first(error)}); check key and endpoint"
        )


def open_object(address: str) -> tuple[int, str, Iterator[bytes]]:
    """Length in bytes, ETag (empty if unknown) and bytes of `s3://BUCKET/KEY`; InputMissing if it cannot be read."""
    bucket, key = _parts(address, "KEY")
    try:
        answer = obstore.get(_bucket(bucket), key)
    except _ERRORS as error:
        raise InputMissing(
            f"{address}: cannot be fetched ({_first(error)}); check address, key and endpoint"
        ) from error
    return answer.meta["size"], answer.meta["e_tag"] or "", _pieces(address, answer)


def _pieces(address: str, answer: "GetResult") -> Iterator[bytes]:
    try:
        yield from map(bytes, answer)
    except _ERRORS as error:
        raise InputMissing(f"{address}: ended early ({_first(error)}); run the same command again") from error


def _bucket(name: str, prefix: str | None = None) -> S3Store:
    patience: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}
    is_plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")  # a server on a local network
    return S3Store(name, prefix=prefix, retry_config=patience, client_options={"allow_http": is_plain})


def _parts(address: str, second: str) -> tuple[str, str]:
    bucket, _, rest = address.removeprefix("s3://").partition("/")
    if not (bucket and rest):
        raise UsageError(f"{address}, expected s3://BUCKET/{second}")
    return bucket, rest


def _first(error: BaseException) -> str:
    """First line of an error of the library, shortened."""
    return str(error).split("\n")[0][:160]
