"""What of a run is done: one line a band, each with a checksum, under a key that says whose it is."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agriseg.files import storage_error


class Journal:
    """Lines of JSON, appended; one that does not check counts as absent.

    Args:
        path: of the file.
        key: what the run is of: input, model, parameters, versions. Lines of another key are not this run's.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key

    def start(self) -> None:
        """Begin anew: nothing is done."""
        self._path.unlink(missing_ok=True)
        self.add({"key": self._key})

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            StorageError: the disk did not take it.
        """
        text = json.dumps(entry)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"\n{_checksum(text)} {text}\n")  # a kill may have cut the line before this one short
        except OSError as error:
            raise storage_error(self._path, error) from error

    def entries(self) -> list[dict[str, Any]] | None:
        """What is recorded of this run; None if nothing is, or it is another run's."""
        try:
            lines = self._path.read_bytes().decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return None
        told = [line.partition(" ") for line in lines]
        entries = [json.loads(text) for check, _, text in told if check == _checksum(text)]
        return entries[1:] if entries and entries[0] == {"key": self._key} else None


def _checksum(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
