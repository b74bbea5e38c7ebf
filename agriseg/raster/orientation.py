"""Tags of a TIFF that are read without GDAL: it keeps the orientation to itself, and opens slowly."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from agriseg.files import reading_error

_ORIENTATION, _METADATA = 274, 42112
_CLASSIC = (2, 12, 8)  # bytes of the number of entries, of an entry, and before an entry's value (TIFF 6.0, page 14)
_BIG = (8, 20, 12)
_BIG_VERSION = 43
_MOST = 4096  # entries; a forged number is not believed
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_BYTES = 2**20  # of a text


def orientation(path: Path) -> int:
    """How the first page wants to be turned: 1 as stored, 2 to 8 otherwise (TIFF 6.0, page 36).

    Args:
        path: of a TIFF that GDAL has opened.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = _entry(file, _ORIENTATION)
    except OSError as error:
        raise reading_error(path, error) from error
    return 1 if found is None else found.number(2)


def metadata(path: Path) -> bytes:
    """The XML of GDAL's metadata tags of the first page; empty if there is none, or the file is no TIFF.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) not in _MAGIC:
                return b""
            found = _entry(file, _METADATA)
            if found is None:
                return b""
            file.seek(found.number(len(found.value)))
            return file.read(min(found.count, _MOST_BYTES))
    except OSError as error:
        raise reading_error(path, error) from error


@dataclass(frozen=True)
class _Entry:
    """Of a directory.

    Args:
        order: of the bytes.
        count: values.
        value: the value itself, or where in the file it is.
    """

    order: Literal["little", "big"]
    count: int
    value: bytes

    def number(self, size: int) -> int:
        """The value's first bytes as a number."""
        return int.from_bytes(self.value[:size], self.order)


def _entry(file: BinaryIO, tag: int) -> _Entry | None:
    """Entry of a tag in the first directory."""
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = int.from_bytes(head[2:4], order) == _BIG_VERSION
    (counted, size, value), place = (_BIG, head[8:16]) if big else (_CLASSIC, head[4:8])
    file.seek(int.from_bytes(place, order))
    directory = file.read(min(int.from_bytes(file.read(counted), order), _MOST) * size)
    for start in range(0, len(directory), size):
        entry = directory[start : start + size]
        if int.from_bytes(entry[:2], order) == tag:
            return _Entry(order, int.from_bytes(entry[4:value], order), entry[value:])
    return None
