"""What the network has answered, kept until no row of the map leans on it: a kill costs one batch.

One object for each tile: a checksum and the logits. One that does not check, or that a kill has cut short, counts as
absent, and its tile is computed again. Whoever asks gets what anybody has kept: where two workers' bands meet,
the tile row that both lean on is computed by the first to get there.
"""

import hashlib
import struct

import numpy as np
import torch

from agriseg.grid import Tile
from agriseg.storage.base import UNDER_WAY, Storage

_CHECK = 16  # bytes


class LogitsCache:
    """Logits by tile.

    Args:
        place: where they are kept.
        shape: (K, h, w) of one answer, float32.
        key: what the run is of; answers of another key are not this run's.
        who: works here, in a word.
    """

    def __init__(self, place: Storage, shape: tuple[int, int, int], key: str, who: str) -> None:
        self._place = place
        self._key = hashlib.sha256(key.encode()).digest()
        self._shape = shape
        self._under_way = f"{UNDER_WAY}/{who}"
        self._cols: dict[int, set[int]] = {}  # that are kept, by tile row
        place.delete(self._under_way)

    def get(self, row: int, col: int) -> torch.Tensor | None:
        """The answer (K, h, w) for a tile, or None."""
        data = self._place.get(_name(row, col)) if col in self._row(row) else None
        if data is None or data[:_CHECK] != self._checksum(row, col, data[_CHECK:]):
            return None
        return torch.from_numpy(np.frombuffer(bytearray(data[_CHECK:]), np.float32).reshape(self._shape))

    def put(self, row: int, col: int, logits: torch.Tensor) -> None:
        """Keep an answer.

        Raises:
            StorageError: it was not taken.
        """
        data = logits.cpu().contiguous().numpy().tobytes()
        self._place.put(_name(row, col), self._checksum(row, col, data) + data)
        self._row(row).add(col)

    def mark_running(self, tile: Tile) -> None:
        """Note which tile goes through the network next, for whoever asks over what a process has died.

        Raises:
            StorageError: it was not taken.
        """
        self._place.put(self._under_way, str(tile.window).encode())

    def discard(self, rows: range) -> None:
        """Drop the answers of tile rows."""
        for row in rows:
            self._place.delete(f"answers/{row}")
            self._cols.pop(row, None)

    def _row(self, row: int) -> set[int]:
        """Columns of a tile row whose answers were kept when it was first asked about, or since then by us."""
        if row not in self._cols:
            self._cols[row] = {int(name) for name in self._place.names(f"answers/{row}") if name.isdecimal()}
        return self._cols[row]

    def _checksum(self, row: int, col: int, data: bytes) -> bytes:
        """Of an answer, its tile and its run: a worker of a run that is over may still put what it computes."""
        return hashlib.blake2b(data, digest_size=_CHECK, key=self._key + struct.pack("<II", row, col)).digest()


def forget_all_but(place: Storage, rows: range) -> None:
    """Drop what an earlier run has kept of other tile rows."""
    for name in place.names("answers"):
        if not (name.isdecimal() and int(name) in rows):
            place.delete(f"answers/{name}")


def _name(row: int, col: int) -> str:
    return f"answers/{row}/{col}"
