"""Progress log of a run: an entry for each finished band, with a checksum, under the key of the run."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from agriseg.json_text import json_line
from agriseg.storage.base import Storage


class ProgressLog:
    """JSON entries by number; a damaged entry counts as absent.

    Args:
        place: storage of the entries.
        key: of the run: input, model, parameters, versions. Entries of another key are not of this run.
    """

    def __init__(self, place: Storage, key: str) -> None:
        self._place = place
        self._key = key

    def start(self) -> None:
        """Delete all entries and begin.

        Raises:
            StorageError: the key could not be stored.
        """
        self._place.delete("journal")
        self._place.put("journal/key", self._key.encode())

    @property
    def is_mine(self) -> bool:
        """Whether the log is of this run."""
        return self._place.get("journal/key") == self._key.encode()

    @property
    def numbers(self) -> list[int]:
        """Numbers of all entries, sorted, damaged ones too."""
        return sorted(int(name) for name in self._place.names("journal") if name.isdecimal())

    def add(self, number: int, entry: Mapping[str, Any]) -> None:
        """Record an entry.

        Raises:
            StorageError: it could not be stored.
        """
        text = json_line(entry)
        self._place.put(f"journal/{number}", f"{self._checksum(number, text)} {text}".encode())

    def find(self, number: int) -> dict[str, Any] | None:
        """An entry; None if this run has none, or if it is damaged."""
        check, _, text = (self._place.get(f"journal/{number}") or b"").decode("utf-8", "replace").partition(" ")
        if check != self._checksum(number, text):
            return None
        entry: dict[str, Any] = json.loads(text)
        return entry

    def _checksum(self, number: int, text: str) -> str:
        """Checksum over an entry, its number and its run."""
        return hashlib.blake2b(f"{self._key} {number} {text}".encode(), digest_size=8).hexdigest()
