"""Checked access to members of JSON and attributes of XML: a value that is not as described raises `Malformed`."""

import json
import math
import re
from pathlib import Path, PureWindowsPath
from typing import Any

from agriseg.errors import DataError

MAX_COORDINATE = 1e7
"""Pixels; no image is as wide."""

_LONGEST = 256  # characters of a file's name


class Malformed(ValueError):
    """A missing member, or one of the wrong type; the text names it, without the file."""


def parsed_json(path: Path) -> Any:
    """The file as JSON; raises `DataError` if it is damaged, cut off, or nested too deeply."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged or cut off, no JSON; export it again") from error


def member(owner: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """A member of an object, of one of these kinds."""
    if not isinstance(owner, dict):
        raise Malformed(f"{brief(owner)}, expected an object with {name!r}")
    if name not in owner:
        raise Malformed(f"no {name!r}")
    value = owner[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Malformed(f"{name!r} is {brief(value)}")
    return value


def number(value: Any, what: str) -> float:
    """A finite number, at most `MAX_COORDINATE`, also as text."""
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?\s*", value[:60]):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"{what} is {brief(value)}, expected a number")
    if not math.isfinite(value) or abs(value) > MAX_COORDINATE:
        raise Malformed(f"{what} is {brief(value)}, which is no place in a picture")
    return float(value)


def whole(value: Any, what: str, least: int = 0) -> int:
    """A whole number from `least` on, also as text."""
    real = number(value, what)
    if not real.is_integer() or real < least:
        raise Malformed(f"{what} is {brief(value)}, expected a whole number from {least}")
    return int(real)


def counts(values: Any) -> tuple[int, ...]:
    """Lengths of runs: a list of whole numbers from 0 on."""
    if not isinstance(values, list):
        raise Malformed(f"runs are {brief(values)}, expected a list")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise Malformed(f"a run is {brief(value)}, expected a whole number from 0")
    return tuple(values)


def points(values: Any) -> list[tuple[float, float]]:
    """A list of pairs of numbers."""
    if not isinstance(values, list) or not all(isinstance(each, list) and len(each) == 2 for each in values):
        raise Malformed(f"points are {brief(values)}, expected pairs")
    return [(number(x, "a coordinate"), number(y, "a coordinate")) for x, y in values]


def base_name(value: Any) -> str:
    """The name of a file without its folders, written on any system."""
    name = PureWindowsPath(value).name if isinstance(value, str) else ""
    if not name.isprintable() or not 0 < len(name) < _LONGEST:
        raise Malformed(f"the image's name is {brief(value)}")
    return name


def brief(value: Any) -> str:
    """A value as a message shows it: short and printable."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return "a number of many digits"
    return repr(value[:30] if isinstance(value, str) else value)
