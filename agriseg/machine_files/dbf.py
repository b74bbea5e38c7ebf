"""Tables of shapefiles with columns that dBASE III can read; GDAL's own are wider.

Source: dBASE III file structure: 32 bytes of header, 32 for each column, 0x0D, the rows, 0x1A; numbers of at most 19
characters.
"""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DECIMALS = 9
"""Digits behind the point of a number."""

_WIDTH = 19
LARGEST = 10.0 ** (_WIDTH - DECIMALS - 2)
"""The largest number."""

_VERSION, _DATE = 3, (70, 1, 1)  # 1970-01-01: same input, same bytes


def table(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """A table of numbers from 0 to `LARGEST`, float64, and texts in ASCII, objects of str."""
    fields = {name: _field(values) for name, values in columns.items()}
    descriptions = b"".join(
        struct.pack("<11sc4xBB14x", name.encode("ascii"), kind, width, DECIMALS if kind == b"N" else 0)
        for name, (kind, width, _) in fields.items()
    )
    size = 1 + sum(width for _, width, _ in fields.values())
    rows = list(zip(*(texts for _, _, texts in fields.values()), strict=True))
    header = struct.pack("<4BIHH20x", _VERSION, *_DATE, len(rows), 32 + len(descriptions) + 1, size)
    body = "".join(" " + "".join(row) for row in rows)
    return header + descriptions + b"\r" + body.encode("ascii") + b"\x1a"


def _field(values: NDArray[Any]) -> tuple[bytes, int, list[str]]:
    """Type, width, and the values as texts of that width."""
    if values.dtype == np.float64:
        return b"N", _WIDTH, [f"{value:{_WIDTH}.{DECIMALS}f}" for value in values.tolist()]
    width = max(map(len, values), default=1)
    return b"C", width, [text.ljust(width) for text in values]
