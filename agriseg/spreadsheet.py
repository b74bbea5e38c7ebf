"""Tables as CSV that a spreadsheet shows and does not run.

They begin with a byte order mark: without it Excel takes UTF-8 for the code page of its Windows.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

_MARK = "\ufeff"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV, its first character a byte order mark; None is an empty cell.

    Text that a spreadsheet would take for a formula gets an apostrophe before it (OWASP, "CSV Injection").
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return _MARK + text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
