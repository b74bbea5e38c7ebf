"""What of a run is done: an entry for each band, each with a checksum, under a key that says whose it is."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from agriseg.json_text import json_line
from agriseg.storage.base import Storage


class ProgressLog:
    """Entries of JSON by number; one that does not check counts as absent.

    Args:
        place: where they are kept.
        key: what the run is of: input, model, parameters, versions. Entries of another key are not this run's.
    """

    def __init__(self, place: Storage, key: str) -> None:
        self._place = place
        self._key = key

    def start(self) -> None:
        """Begin anew: nothing is done.

        Raises:
            StorageError: the key was not taken.
        """
        self._place.delete("journal")
        self._place.put("journal/key", self._key.encode())

    @property
    def is_mine(self) -> bool:
        """Whether what is recorded, if anything is, is of this run."""
        return self._place.get("journal/key") == self._key.encode()

    @property
    def numbers(self) -> list[int]:
        """Of the entries, sorted, whether they check or not."""
        return sorted(int(name) for name in self._place.names("journal") if name.isdecimal())

    def add(self, number: int, entry: Mapping[str, Any]) -> None:
        """Record an entry.

        Raises:
            StorageError: it was not taken.
        """
        text = json_line(entry)
        self._place.put(f"journal/{number}", f"{self._checksum(number, text)} {text}".encode())

    def find(self, number: int) -> dict[str, Any] | None:
        """An entry; None if there is none of this run."""
        check, _, text = (self._place.get(f"journal/{number}") or b"").decode("utf-8", "replace").partition(" ")
        if check != self._checksum(number, text):
            return None
        entry: dict[str, Any] = json.loads(text)
        return entry

    def _checksum(self, number: int, text: str) -> str:
        """Of an entry, its number and its run."""
        return hashlib.blake2b(f"{self._key} {number} {text}".encode(), digest_size=8).hexdigest()
