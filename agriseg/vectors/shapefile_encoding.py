"""The encoding of a shapefile's texts, which a file beside it names, or a byte of its table, or nothing."""

import re
from pathlib import Path

from agriseg.errors import DataError

_CODE_PAGES = {
    0x01: "cp437", 0x02: "cp850", 0x03: "cp1252", 0x13: "cp932", 0x4D: "gbk", 0x4E: "cp949", 0x4F: "big5",
    0x64: "cp852", 0x65: "cp866", 0x66: "cp865", 0x67: "cp861", 0x6A: "cp737", 0x6B: "cp857", 0x78: "big5",
    0x79: "cp949", 0x7A: "gbk", 0x7B: "cp932", 0x7C: "cp874", 0xC8: "cp1250", 0xC9: "cp1251", 0xCA: "cp1254",
    0xCB: "cp1253", 0xCC: "cp1257",
}  # fmt: skip
"""Language driver (byte 29 of a .dbf) to its code page. 0x57 is absent: it is the code page of whoever wrote it."""

_TWO_BYTES = ("cp932", "gbk", "cp949", "big5")


def encoding_of(shapefile: Path) -> tuple[str, ...]:
    """Encodings that the texts may have, the first that can read them all holds.

    The .cpg file decides; else the language driver of the table, and UTF-8. A driver of one byte a letter reads
    anything, so UTF-8 comes before it.

    Raises:
        DataError: the .cpg names no encoding.
    """
    named = _beside(shapefile, ".cpg")
    if named is not None:
        return (_codec(named),)
    page = _code_page(shapefile)
    if page is None:
        return ("utf-8",)
    return (page, "utf-8") if page in _TWO_BYTES else ("utf-8", page)


def undecided(shapefile: Path) -> DataError:
    """What to tell when no encoding reads the texts."""
    named, target = _beside(shapefile, ".cpg"), shapefile.with_suffix(".cpg").name
    given = f"{named.name} says {_text(named)!r}, but they are not" if named else "not UTF-8, and no .cpg names theirs"
    return DataError(
        f"{shapefile}: encoding of its texts: {given}; write it into {target}, such as GBK or Big5 (Chinese), "
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
    for each in (shapefile.with_suffix(suffix), shapefile.with_suffix(suffix.upper())):
        if each.is_file():
            return each
    return None
