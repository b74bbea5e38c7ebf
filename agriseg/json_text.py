"""JSON text of RFC 8259, which has no NaN and no infinity, and dataclasses read from its values."""

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from agriseg.errors import DataError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
V = TypeVar("V", bound=float | None)


def from_json(kind: type[T], values: object, source: str, remedy: str) -> T:
    """A dataclass, and the dataclasses in it, from JSON values; names that are no fields are passed over.

    Args:
        kind: the dataclass.
        values: as `dataclasses.asdict` gives them, tuples as lists.
        source: what the values are, for the message: `out/a_run.json: no record of a run`.
        remedy: what to do, for the message.

    Raises:
        DataError: a value is missing, or of another type.
    """
    from pydantic import ValidationError  # takes tenths of a second, which `agriseg --help` does not need

    try:
        record: T = _adapter(kind).validate_python(values)  # type: ignore[arg-type]  # mypy takes type[T] for unhashable
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        fault = f"it has no {name!r}" if first["type"] == "missing" else f"{name!r} is damaged"
        raise DataError(f"{source}, {fault}; {remedy}") from error
    return record


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    """Made once for each kind: that takes milliseconds, and a batch reads thousands of records."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


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
