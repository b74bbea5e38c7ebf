"""The orientation tag of a TIFF, which GDAL keeps to itself."""

from pathlib import Path
from typing import Literal

from agriseg.files import reading_error

_TAG = 274
_CLASSIC = (2, 12, 8)  # bytes of the number of entries, of an entry, and before an entry's value (TIFF 6.0, page 14)
_BIG = (8, 20, 12)
_BIG_VERSION = 43
_MOST = 4096  # entries; a forged number is not believed


def orientation(path: Path) -> int:
    """How the first page wants to be turned: 1 as stored, 2 to 8 otherwise (TIFF 6.0, page 36).

    Args:
        path: of a TIFF that GDAL has opened.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
            order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
            big = int.from_bytes(head[2:4], order) == _BIG_VERSION
            (counted, size, value), place = (_BIG, head[8:16]) if big else (_CLASSIC, head[4:8])
            file.seek(int.from_bytes(place, order))
            directory = file.read(min(int.from_bytes(file.read(counted), order), _MOST) * size)
    except OSError as error:
        raise reading_error(path, error) from error
    for start in range(0, len(directory), size):
        if int.from_bytes(directory[start : start + 2], order) == _TAG:
            return int.from_bytes(directory[start + value : start + value + 2], order)
    return 1
