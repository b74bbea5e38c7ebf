"""The page that somebody reads in the morning: one file, a row a raster, what went wrong first."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, Template

_ORDER = ("failed", "deferred", "waiting", "done", "gone")
_TRUST = ("red", "amber", "green", None)


def summary_page(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """HTML without scripts, links to elsewhere or anything to fetch; every name is escaped.

    Args:
        summary: of the night: `began`, `written`, `rasters` by status, `passed_over`.
        rows: of the rasters that are settled, with `thumbnail`, a data URI, where there is a map.
    """
    classes = list(dict.fromkeys(name for row in rows for name in row.get("hectares", {})))
    ordered = sorted(rows, key=lambda row: (_ORDER.index(row["status"]), _TRUST.index(_colour(row)), row["name"]))
    return _template().render(summary=summary, rows=ordered, classes=classes)


@cache
def _template() -> Template:
    """Read once: the page is written several times a night."""
    return Environment(loader=PackageLoader("agriseg", "data"), autoescape=True).get_template("batch_summary.html.j2")


def _colour(row: Mapping[str, Any]) -> str | None:
    verdict = row.get("verdict")
    return verdict["colour"] if verdict else None
