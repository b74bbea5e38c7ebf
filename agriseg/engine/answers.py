"""What the network has answered, kept on disk until no row of the map leans on it: a kill costs one batch.

One file for each tile row under way. A record is the tile's column, a checksum and the logits; one that does not
check, or that a kill has cut short, counts as absent, and its tile is computed again.
"""

import hashlib
import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.files import storage_error
from agriseg.grid import Tile

UNDER_WAY = "under_way"
"""File that names the window of the first tile of the batch that is in the network."""
_HEAD = struct.Struct("<I16s")


class Answers:
    """Logits by tile.

    Args:
        folder: where the files lie.
        shape: (K, h, w) of one answer, float32.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        self._folder = folder
        self._shape = shape
        self._size = 4 * shape[0] * shape[1] * shape[2]
        self._places: dict[int, dict[int, int]] = {}  # of the records, by tile row and column

    def find(self, row: int, col: int) -> torch.Tensor | None:
        """The answer (K, h, w) for a tile, or None."""
        place = self._row(row).get(col)
        if place is None:
            return None
        with self._path(row).open("rb") as file:
            file.seek(place)
            return torch.from_numpy(self._logits(file.read(self._size)))

    def keep(self, row: int, col: int, logits: torch.Tensor) -> None:
        """Append an answer.

        Raises:
            StorageError: the disk did not take it.
        """
        places, data = self._row(row), logits.cpu().contiguous().numpy().tobytes()
        try:
            with self._path(row).open("ab") as file:
                places[col] = file.tell() + _HEAD.size
                file.write(_HEAD.pack(col, _checksum(row, col, data)) + data)
        except OSError as error:
            raise storage_error(self._path(row), error) from error

    def begin(self, tile: Tile) -> None:
        """Note which tile goes through the network next, for whoever asks over what a process has died.

        Raises:
            StorageError: the disk did not take it.
        """
        try:
            (self._folder / UNDER_WAY).write_text(str(tile.window))
        except OSError as error:
            raise storage_error(self._folder, error) from error

    def forget(self, before: int) -> None:
        """Drop the tile rows above one."""
        for path in self._folder.glob("row_*.logits"):
            row = int(path.stem.removeprefix("row_"))
            if row < before:
                self._places.pop(row, None)
                path.unlink(missing_ok=True)

    def _row(self, row: int) -> dict[int, int]:
        """Where the whole records of a tile row lie; what a kill cut short at its end is taken off."""
        if row not in self._places:
            self._places[row] = places = {}
            path, step = self._path(row), _HEAD.size + self._size
            if path.exists():
                whole = path.stat().st_size // step
                with path.open("r+b") as file:
                    file.truncate(whole * step)
                    for number in range(whole):
                        col, told = _HEAD.unpack(file.read(_HEAD.size))
                        if _checksum(row, col, file.read(self._size)) == told:
                            places[col] = number * step + _HEAD.size
        return self._places[row]

    def _logits(self, data: bytes) -> NDArray[np.float32]:
        return np.frombuffer(bytearray(data), np.float32).reshape(self._shape)

    def _path(self, row: int) -> Path:
        return self._folder / f"row_{row}.logits"


def _checksum(row: int, col: int, data: bytes) -> bytes:
    """Of an answer and of the tile that it is for."""
    return hashlib.blake2b(data, digest_size=16, key=struct.pack("<II", row, col)).digest()
