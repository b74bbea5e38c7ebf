"""JSON that every reader takes (RFC 8259), which has no word for a number that is none."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

V = TypeVar("V", bound=float | None)


def json_document(values: Any) -> str:
    """Values as JSON for people too, with its last line ended; a float that is NaN or infinite is null."""
    text = json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()  # names of files that are no UTF-8 hold lone surrogates


def json_line(values: Any, *, sort_keys: bool = False) -> str:
    """Values as one line of ASCII JSON, not ended; a float that is NaN or infinite is null."""
    return json.dumps(_finite(values), sort_keys=sort_keys, allow_nan=False)


def nodata_value(value: V) -> V | str:
    """A value that stands for no data, as STAC has it: the words nan, inf and -inf for what JSON cannot hold.

    `float` reads each of them back.
    """
    return value if value is None or math.isfinite(value) else str(float(value))


def _finite(values: Any) -> Any:
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    if isinstance(values, Mapping):
        return {name: _finite(value) for name, value in values.items()}
    return [_finite(value) for value in values] if isinstance(values, list | tuple) else values
