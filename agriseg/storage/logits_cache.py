"""Cache of the logits of each tile, until no row of the map needs them: a kill costs one batch.

Each tile is one object: a checksum and the logits. A damaged object counts as absent, and its tile is computed again.
Workers share the cache: where the bands of two workers meet, both need one tile row, and the first computes it.
"""

import hashlib
import struct
import zlib

import numpy as np
import torch

from agriseg.grid import Tile
from agriseg.storage.base import UNDER_WAY, Storage

_CHECK = 16  # bytes


class LogitsCache:
    """Logits by tile; the cache of one worker.

    Args:
        place: storage of the logits.
        shape: (K, h, w) of the logits of a tile, float32.
        key: of the run; logits of another key are not of this run.
        worker_id: of that worker.
    """

    def __init__(self, place: Storage, shape: tuple[int, int, int], key: str, worker_id: str) -> None:
        self._place = place
        self._key = hashlib.sha256(key.encode()).digest()
        self._shape = shape
        self._under_way = f"{UNDER_WAY}/{worker_id}"
        self._cols: dict[int, set[int]] = {}  # stored, by tile row
        place.delete(self._under_way)

    def get(self, row: int, col: int) -> torch.Tensor | None:
        """Logits (K, h, w) of a tile, or None."""
        data = self._place.get(_name(row, col)) if col in self._row(row) else None
        if data is None or data[:_CHECK] != self._checksum(row, col, data[_CHECK:]):
            return None
        return torch.from_numpy(np.frombuffer(bytearray(data[_CHECK:]), np.float32).reshape(self._shape))

    def put(self, row: int, col: int, logits: torch.Tensor) -> None:
        """Store the logits (K, h, w) of a tile; StorageError if that fails."""
        data = logits.cpu().contiguous().numpy().data.cast("B")
        self._place.put(_name(row, col), b"".join((self._checksum(row, col, data), data)))
        self._row(row).add(col)

    def mark_running(self, tile: Tile) -> None:
        """Store the window of the tile that the network runs next: the tile over which a worker died."""
        self._place.put(self._under_way, str(tile.window).encode())

    def discard(self, rows: range) -> None:
        """Delete the logits of tile rows."""
        for row in rows:
            self._place.delete(f"answers/{row}")
            self._cols.pop(row, None)

    def _row(self, row: int) -> set[int]:
        """Columns of a tile row that were stored at its first use, or by this process since then."""
        if row not in self._cols:
            self._cols[row] = {int(name) for name in self._place.names(f"answers/{row}") if name.isdecimal()}
        return self._cols[row]

    def _checksum(self, row: int, col: int, data: bytes | memoryview) -> bytes:
        """Hash of run and tile: a worker of a run that is over may still store logits. Then the CRC of the logits.

        A run takes it of every tile; a cryptographic hash of them takes six times as long.
        """
        place = hashlib.blake2b(struct.pack("<II", row, col), digest_size=_CHECK - 4, key=self._key)
        return place.digest() + struct.pack("<I", zlib.crc32(data))


def discard_other_rows(place: Storage, rows: range) -> None:
    """Delete the logits of other tile rows, of an earlier run."""
    for name in place.names("answers"):
        if not (name.isdecimal() and int(name) in rows):
            place.delete(f"answers/{name}")


def _name(row: int, col: int) -> str:
    return f"answers/{row}/{col}"
