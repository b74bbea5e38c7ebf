"""JSON text of RFC 8259, which has no NaN and no infinity."""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

V = TypeVar("V", bound=float | None)


def json_document(values: Any) -> str:
    """Values as indented JSON that ends with a newline; NaN and infinite floats become null."""
    text = json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()  # names of files that are no UTF-8 hold lone surrogates


def json_line(values: Any, *, sort_keys: bool = False) -> str:
    """Values as one line of ASCII JSON without a newline; NaN and infinite floats become null."""
    return json.dumps(_finite(values), sort_keys=sort_keys, allow_nan=False)


def nodata_value(value: V) -> V | str:
    """A nodata value as in STAC: the words nan, inf and -inf for values that JSON cannot hold.

    `float` reads each of them back.
    """
    return value if value is None or math.isfinite(value) else str(float(value))


def _finite(values: Any) -> Any:
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    if isinstance(values, Mapping):
        return {name: _finite(value) for name, value in values.items()}
    return [_finite(value) for value in values] if isinstance(values, list | tuple) else values
