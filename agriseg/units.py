"""Numbers as people write them: `5cm`, `6GB`, `25%`, `red=1,green=2`."""

import re
from collections.abc import Mapping
from typing import Any

from agriseg.errors import UsageError
from agriseg.grid import Window

_METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3}
HECTARE = 10_000.0
"""Square metres of a hectare."""
_SQUARE_METRES = {"cm2": 1e-4, "m2": 1.0, "ha": 1e4}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def metres(value: float | str) -> float:
    """A length in metres. A number is metres; text needs its unit.

    >>> metres("5cm")
    0.05
    """
    return _measured(value, _METRES, "length", "5cm or 0.5m")


def square_metres(value: float | str) -> float:
    """An area in square metres. A number is square metres; text needs its unit: cm2, m2, ha.

    >>> square_metres("0.25m2")
    0.25
    """
    return _measured(value, _SQUARE_METRES, "area", "0.25m2 or 0.1ha")


def signed_metres(value: float | str) -> float:
    """A length in metres that may be below 0.

    >>> signed_metres("-10cm")
    -0.1
    """
    return -metres(value.strip()[1:]) if isinstance(value, str) and value.strip().startswith("-") else metres(value)


def pixels_or_metres(value: str) -> tuple[float, bool]:
    """A length above 0, and whether it is in pixels: `8px` or `5cm`.

    >>> pixels_or_metres("8px")
    (8.0, True)
    """
    number, unit = _split(value)
    if not number or unit not in ("px", *_METRES):
        raise UsageError(f"{value!r} is no length above 0; write it with its unit, such as 8px or 5cm")
    return (number, True) if unit == "px" else (number * _METRES[unit], False)


def seconds(value: float | str) -> float:
    """A length of time in seconds. A number is seconds; text needs its unit: s, m, h, d.

    >>> seconds("30m")
    1800.0
    """
    return _measured(value, _SECONDS, "length of time", "30m or 2h")


def size(value: int | str) -> int:
    """A size in bytes; GB is 10^9, GiB is 2^30.

    >>> size("6GB")
    6000000000
    """
    if isinstance(value, int):
        return value
    number, unit = _split(value)
    if number is None or unit.upper() not in _BYTES:
        raise UsageError(f"{value!r} is no size; write it with its unit, such as 6GB or 500MB")
    return int(number * _BYTES[unit.upper()])


def share(text: str) -> float:
    """A number, or a share in percent.

    >>> share("25%")
    0.25
    """
    number, unit = _split(text)
    if number is None or unit not in ("", "%"):
        raise UsageError(f"{text!r} is neither a number nor a share; write 0.25 or 25%")
    return number / 100 if unit else number


def pixels_or_share(value: float | str) -> int | float:
    """Pixels, or a share of a tile as a number below 1: `64` or `25%`."""
    if not isinstance(value, str):
        return value
    number, unit = _split(value)
    if number is not None and unit == "%":
        return number / 100
    if number is None or unit or not number.is_integer():
        raise UsageError(f"{value!r} is neither pixels nor a share; write 64 or 25%")
    return int(number)


def window(value: Any) -> Window:
    """A window from `col_off,row_off,width,height`: text, four integers, or an object with these names."""
    if isinstance(value, Window):
        return value
    if isinstance(value, str):
        value = value.split(",")
    elif hasattr(value, "col_off"):
        value = (value.col_off, value.row_off, value.width, value.height)
    try:
        col_off, row_off, width, height = (int(part) for part in value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"window {value!r}, expected col_off,row_off,width,height, such as 0,0,1024,1024") from error
    return Window(col_off, row_off, width, height)


def bands(value: Any) -> dict[str, int] | tuple[int, ...]:
    """Band numbers from 1: by role (`red=3,green=2,blue=1`) or in the model's order (`3,2,1`).

    >>> bands("red=3,nir=4")
    {'red': 3, 'nir': 4}
    """
    if isinstance(value, str):
        parts = [part.strip().split("=") for part in value.split(",")]
        named = {len(part) for part in parts} == {2}
        if named and len({part[0] for part in parts}) < len(parts):
            raise UsageError(f"bands {value!r} names a role twice; name each once")
        value = dict(parts) if named else [part[-1] if len(part) == 1 else None for part in parts]
    try:
        if hasattr(value, "items"):
            return {str(role): int(number) for role, number in value.items()}
        return tuple(int(number) for number in value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"bands {value!r}, expected red=1,green=2,blue=3 or 1,2,3 in the model's order") from error


def human_bytes(count: float) -> str:
    """Bytes for a reader: `482 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def human_metres(length: float) -> str:
    """A ground sample distance for a reader: `2.1 cm`, `10 m`."""
    return f"{length * 100:.3g} cm" if length < 1 else f"{length:.4g} m"


def human_area(square_metres: float) -> str:
    """An area for a reader: `3.2 m2`, `140 m2`, `1.2 ha`."""
    if square_metres >= HECTARE:
        return f"{square_metres / HECTARE:.1f} ha"
    return f"{square_metres:.0f} m2" if square_metres >= 10 else f"{square_metres:.2g} m2"


def _measured(value: float | str, units: Mapping[str, float], what: str, such: str) -> float:
    """A number as it is; text in the units' base."""
    if isinstance(value, int | float):
        return float(value)
    number, unit = _split(value)
    if number is None or unit not in units:
        raise UsageError(f"{value!r} is no {what}; write it with its unit, such as {such}")
    return number * units[unit]


def _split(text: str) -> tuple[float | None, str]:
    """Number and unit of `12.5cm`; None for no number."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z%]*2?)\s*", text)
    return (float(match[1]), match[2]) if match else (None, "")
