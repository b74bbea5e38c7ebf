"""Progress log of a run: an entry for each finished band, with a checksum, under the key of the run."""

import hashlib

from agriseg.storage.base import Storage


class ProgressLog:
    """Entries of text by number; a damaged entry counts as absent.

    Args:
        place: storage of the entries.
        key: of the run: input, model, parameters, versions. Entries of another key are not of this run.
    """

    def __init__(self, place: Storage, key: str) -> None:
        self._place = place
        self._key = key

    def start(self) -> None:
        """Delete all entries and store the key; StorageError if that fails."""
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

    def add(self, number: int, entry: str) -> None:
        """Store an entry; StorageError if that fails."""
        self._place.put(f"journal/{number}", f"{self._checksum(number, entry)} {entry}".encode())

    def find(self, number: int) -> str | None:
        """An entry; None if this run has none, or if it is damaged."""
        check, _, entry = (self._place.get(f"journal/{number}") or b"").decode("utf-8", "replace").partition(" ")
        return entry if check == self._checksum(number, entry) else None

    def _checksum(self, number: int, entry: str) -> str:
        return hashlib.blake2b(f"{self._key} {number} {entry}".encode(), digest_size=8).hexdigest()
