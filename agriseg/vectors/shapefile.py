"""Shapefiles: the encoding of their texts is named by a file beside them, by a byte of their table, or not at all."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agriseg.errors import DataError
from agriseg.vectors.features import Features
from agriseg.vectors.ogr import read_layer

_CODE_PAGES = {
    0x01: "cp437", 0x02: "cp850", 0x03: "cp1252", 0x13: "cp932", 0x4D: "gbk", 0x4E: "cp949", 0x4F: "big5",
    0x64: "cp852", 0x65: "cp866", 0x66: "cp865", 0x67: "cp861", 0x6A: "cp737", 0x6B: "cp857", 0x78: "big5",
    0x79: "cp949", 0x7A: "gbk", 0x7B: "cp932", 0x7C: "cp874", 0xC8: "cp1250", 0xC9: "cp1251", 0xCA: "cp1254",
    0xCB: "cp1253", 0xCC: "cp1257",
}  # fmt: skip
"""Language driver (byte 29 of a .dbf) to code page. 0x57 is absent: it stands for any code page."""

_TWO_BYTES = ("cp932", "gbk", "cp949", "big5")
_BYTES = "ISO-8859-1"  # each byte is a letter; GDAL would leave out what it cannot convert


def read_shapefile(path: Path) -> Features:
    """Read a shapefile with its texts decoded.

    Raises:
        OGR_ERRORS: it cannot be read.
        DataError: no shapes, or nothing names the encoding of its texts, which are not UTF-8.
    """
    raw = read_layer(path, encoding=_BYTES)
    for encoding in _encodings(path):
        try:
            return _decoded(raw, encoding)
        except UnicodeDecodeError:
            continue
    raise _unknown_encoding(path)


def _decoded(raw: Features, encoding: str) -> Features:
    """Names and texts of columns, of which each letter is a byte, in their encoding."""

    def decoded(text: Any) -> Any:
        return text.encode(_BYTES).decode(encoding) if isinstance(text, str) else text

    columns = {}
    for name, values in raw.columns.items():
        texts = np.array([decoded(text) for text in values] + [None], object)[:-1] if values.dtype == object else values
        columns[decoded(name)] = texts
    return replace(raw, columns=columns)


def _encodings(shapefile: Path) -> tuple[str, ...]:
    """Possible encodings; the first that decodes all texts is theirs.

    The .cpg file decides; else the language driver of the table, and UTF-8. A driver of one byte a letter decodes
    anything, so UTF-8 comes before it.
    """
    cpg = _beside(shapefile, ".cpg")
    if cpg is not None:
        return (_codec(cpg),)
    page = _code_page(shapefile)
    if page is None:
        return ("utf-8",)
    return (page, "utf-8") if page in _TWO_BYTES else ("utf-8", page)


def _unknown_encoding(shapefile: Path) -> DataError:
    cpg, target = _beside(shapefile, ".cpg"), shapefile.with_suffix(".cpg").name
    fault = f"{cpg.name} says {_text(cpg)!r}, but they are not" if cpg else "not UTF-8, and no .cpg names theirs"
    return DataError(
        f"{shapefile}: encoding of its texts: {fault}; write it into {target}, such as GBK or Big5 (Chinese), "
        f"Shift_JIS, cp1252 (Western Europe): echo GBK > {target}"
    )


def _codec(cpg: Path) -> str:
    text = _text(cpg)
    digits = re.fullmatch(r"(?:ANSI |OEM |CP|WINDOWS-)?(\d{3,5})", text, re.IGNORECASE)
    name = (
        text if digits is None else f"iso-{digits[1][:4]}-{digits[1][4:]}" if text[:4] == "8859" else f"cp{digits[1]}"
    )
    try:
        b"a".decode(name)
    except (LookupError, ValueError) as error:
        raise DataError(
            f"{cpg}: {text!r} is no encoding that is known; write another into it, such as UTF-8, GBK or cp1252"
        ) from error
    return name


def _text(cpg: Path) -> str:
    return cpg.read_bytes()[:40].decode("ascii", "replace").strip()


def _code_page(shapefile: Path) -> str | None:
    table = _beside(shapefile, ".dbf")
    if table is None:
        return None
    with table.open("rb") as file:
        head = file.read(30)
    return _CODE_PAGES.get(head[29]) if len(head) == 30 else None


def _beside(shapefile: Path, suffix: str) -> Path | None:
    paths = shapefile.with_suffix(suffix), shapefile.with_suffix(suffix.upper())
    return next((path for path in paths if path.is_file()), None)
