"""The summary of a batch as one HTML file: a row per raster, failed ones first."""

from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, Template

from agriseg.batch.row import BatchRow

if TYPE_CHECKING:
    from agriseg.batch.summary import BatchSummary

_ORDER = ("failed", "deferred", "waiting", "done", "gone")
_COLOURS = ("red", "amber", "green", None)


def summary_page(summary: "BatchSummary") -> str:
    """HTML of the settled rasters, without scripts or external resources; every name is escaped."""
    rows = [row for row in summary.rows if row.status != "waiting"]
    classes = list(dict.fromkeys(name for row in rows if row.map for name in row.map.hectares))
    return _template().render(summary=summary, rows=sorted(rows, key=_rank), classes=classes)


@cache
def _template() -> Template:
    """Read once: the page is written several times in a batch."""
    return Environment(loader=PackageLoader("agriseg", "data"), autoescape=True).get_template("batch_summary.html.j2")


def _rank(row: BatchRow) -> tuple[int, int, str]:
    colour = row.map.verdict.colour if row.map else None
    return _ORDER.index(row.status), _COLOURS.index(colour), row.name
