"""Tags that are read without GDAL, which does not return the orientation of most pictures and opens TIFFs slowly."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from agriseg.files import reading_error

_ORIENTATION, _METADATA = 274, 42112
_CLASSIC = (2, 12, 8)  # bytes of the number of entries, of an entry, and before an entry's value (TIFF 6.0, page 14)
_BIG = (8, 20, 12)
_BIG_VERSION = 43
_MOST = 4096  # entries; a higher number is forged
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_BYTES = 2**20  # of a text
_UPRIGHT, _LAST = 1, 8  # orientations
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_MOST_PARTS = 2**20  # of a PNG or JPEG
_EXIF, _SCAN = 0xE1, 0xDA  # markers of a JPEG: what may hold EXIF, and where its pixels begin


def orientation(path: Path) -> int:
    """How the first page is to be turned: 1 as stored, 2 to 8 otherwise (TIFF 6.0, page 36).

    The file is a TIFF, JPEG or PNG that GDAL has opened; the last two have EXIF. StorageError if it is unreadable.
    """
    try:
        with path.open("rb") as file:
            start = _start(file)
            entry = None if start is None else _entry(file, _ORIENTATION, start)
    except OSError as error:
        raise reading_error(path, error) from error
    number = _UPRIGHT if entry is None else entry.number(2)
    return number if _UPRIGHT <= number <= _LAST else _UPRIGHT


def metadata(path: Path) -> bytes:
    """The XML of GDAL's metadata tags of the first page, empty if there is none; StorageError if unreadable."""
    try:
        with path.open("rb") as file:
            if file.read(4) not in _MAGIC:
                return b""
            entry = _entry(file, _METADATA)
            if entry is None:
                return b""
            file.seek(entry.number(len(entry.value)))
            return file.read(min(entry.count, _MOST_BYTES))
    except OSError as error:
        raise reading_error(path, error) from error


@dataclass(frozen=True)
class _Entry:
    """Of a directory: the order of bytes, the number of values, and the value itself or its place in the file."""

    order: Literal["little", "big"]
    count: int
    value: bytes

    def number(self, size: int) -> int:
        """The value's first bytes as a number."""
        return int.from_bytes(self.value[:size], self.order)


def _start(file: BinaryIO) -> int | None:
    """Where a TIFF begins: the file itself, or its EXIF; None where a PNG or JPEG has none."""
    head = file.read(len(_PNG))
    if head == _PNG:
        return _in_png(file)
    return _in_jpeg(file) if head.startswith(_JPEG) else 0


def _in_jpeg(file: BinaryIO) -> int | None:
    place = len(_JPEG)
    for _ in range(_MOST_PARTS):
        file.seek(place)
        head = file.read(10)
        if len(head) < 10 or head[0] != 0xFF or head[1] == _SCAN:
            break
        if head[1] == _EXIF and head[4:] == b"Exif\0\0":
            return place + 10
        place += 2 + int.from_bytes(head[2:4])
    return None


def _in_png(file: BinaryIO) -> int | None:
    """EXIF may stand before or behind the pixels (PNG, third edition, 11.3.3.5)."""
    place = len(_PNG)
    for _ in range(_MOST_PARTS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            break
        if head[4:] == b"eXIf":
            return place + 8
        place += 12 + int.from_bytes(head[:4])
    return None


def _entry(file: BinaryIO, tag: int, begin: int = 0) -> _Entry | None:
    """Entry of a tag in the first directory of the TIFF that begins at a byte."""
    file.seek(begin)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = int.from_bytes(head[2:4], order) == _BIG_VERSION
    (counted, size, value), place = (_BIG, head[8:16]) if big else (_CLASSIC, head[4:8])
    file.seek(begin + int.from_bytes(place, order))
    directory = file.read(min(int.from_bytes(file.read(counted), order), _MOST) * size)
    for start in range(0, len(directory), size):
        entry = directory[start : start + size]
        if int.from_bytes(entry[:2], order) == tag:
            return _Entry(order, int.from_bytes(entry[4:value], order), entry[value:])
    return None
