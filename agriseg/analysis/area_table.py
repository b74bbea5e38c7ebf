"""The layer of areas: hectares of each class in the whole map and in each field."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agriseg import files
from agriseg.analysis.area_interval import ErrorMatrix
from agriseg.analysis.layer import (
    LayerContext,
    LayerResult,
    ReportTable,
    StyledFeatures,
    TableColumn,
    polygon_columns,
    shapes_of,
)
from agriseg.analysis.record import ClassName, LayersRecord, json_values
from agriseg.analysis.zonal_stats import ZonalStats, zonal_stats
from agriseg.errors import DataError, UsageError
from agriseg.files import csv_text
from agriseg.legend import UNSURE, Legend
from agriseg.units import HECTARE
from agriseg.vectors.features import moved
from agriseg.vectors.qml import outline_style
from agriseg.vectors.read import Field

GROUND = ("soil", "bare soil", "bare_soil", "ground", "background")
"""Names of classes that are no plants, unless the user names them."""
_WHOLE = 0.98  # share from which a field counts as mapped
_NAMED = 5  # fields that a warning names
_SHOWN_CLASSES = 6  # that a table of fields has columns for


@dataclass(frozen=True)
class AreaRow:
    """One class of one field. What cannot be known is None.

    Args:
        field: its name; the map's for all of it.
        hectares: as the map shows it.
        adjusted_ha, low_ha, high_ha: corrected by the model's validation, with its 95 % interval.
        share_of_field: of the mapped pixels' ground, 0 to 1.
        share_of_canopy: of the plants' ground; None for a class that is none.
        mean_confidence: 0 to 1.
        doubtful_ha: with a confidence below 0.7.
    """

    field: str
    class_name: ClassName
    pixels: int
    hectares: float | None
    adjusted_ha: float | None = None
    low_ha: float | None = None
    high_ha: float | None = None
    share_of_field: float | None = None
    share_of_canopy: float | None = None
    mean_confidence: float | None = None
    doubtful_ha: float | None = None


def build(context: LayerContext) -> LayerResult:
    """Write `<stem>_area.csv`; with fields, add their polygons with the hectares of each class.

    Raises:
        DataError: no pixel is mapped.
    """
    run, fields = context.run, context.fields
    (whole,) = zonal_stats(context.source, len(run.legend))
    if not whole.pixels.sum():
        where = " within the fields" if fields else ""
        raise DataError(f"{run.classes}: not one pixel is mapped{where}, so there are no layers")
    stats = zonal_stats(context.source, len(run.legend), [field.shape for field in fields]) if fields else []
    named = [(run.stem, whole), *((field.name, each) for field, each in zip(fields, stats, strict=True))]
    rows = tuple(
        row for name, each in named
        for row in area_rows(name, each, context.run.legend, context.ground, context.agreement)
    )  # fmt: skip
    shares = _mapped_shares(context, stats)
    _write_table(context, rows, shares)
    if not fields:
        return LayerResult({"areas": rows})
    columns = {**polygon_columns(fields, stats, run.legend), "mapped_share": np.array(shares)}
    layer = StyledFeatures(context.features("fields", shapes_of(fields), columns), outline_style())
    return LayerResult({"areas": rows}, (layer,), tuple(_field_warnings(fields, shares, whole, stats)))


def _write_table(context: LayerContext, rows: Sequence[AreaRow], shares: Sequence[float]) -> None:
    """Rows of the whole map, then of each field with the share of it that is mapped."""
    legend, stem = context.run.legend, context.run.stem
    of_row = [None] * len(legend) + [share for share in shares for _ in legend]
    table = [{"map": stem, **json_values(row), "mapped_share": share} for row, share in zip(rows, of_row, strict=True)]
    files.write_text(context.path("_area.csv"), csv_text(list(table[0]), [list(row.values()) for row in table]))


def _mapped_shares(context: LayerContext, stats: Sequence[ZonalStats]) -> list[float]:
    """The share of each field that is mapped, 0 to 1."""
    to_pixels = ~context.run.georeference.transform
    sizes = [float(moved(field.shape, to_pixels).area) for field in context.fields]
    return [
        min(1.0, round(int(each.pixels.sum()) / size, 6)) if size else 0.0
        for each, size in zip(stats, sizes, strict=True)
    ]


def _field_warnings(
    fields: Sequence[Field], shares: Sequence[float], whole: ZonalStats, stats: Sequence[ZonalStats]
) -> Iterator[str]:
    """Fields of which a part is not mapped, that share a name, or that overlap."""
    partly = [f"{field.name} {share:.0%}" for field, share in zip(fields, shares, strict=True) if share < _WHOLE]
    if partly:
        more = f", and {len(partly) - _NAMED} more" if len(partly) > _NAMED else ""
        yield f"only a part is mapped of {', '.join(partly[:_NAMED])}{more}; shares of the field are of that part"
    names = [field.name for field in fields]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"{names.count(twice[0])} fields are called {twice[0]!r}: rows of the table share it"
    if both := sum(int(each.pixels.sum()) for each in stats) - int(whole.pixels.sum()):
        yield f"fields overlap in {both:,} pixels: each field counts them, the map only once"


def recorded_areas(record: LayersRecord) -> tuple[AreaRow, ...]:
    """Rows of the whole map, then of each field, a class each."""
    return record.fact("areas", tuple[AreaRow, ...]) or ()


def report_table(record: LayersRecord) -> ReportTable | None:
    """The fields, a row each; None without fields."""
    rows = recorded_areas(record)
    count = len({row.class_name for row in rows})
    parts = [rows[start : start + count] for start in range(count, len(rows), count)]
    if not parts:
        return None
    names = [row.class_name for row in rows[:count]]
    shown, affected = names if count <= _SHOWN_CLASSES else list(record.affected), record.affected
    in_affected = (TableColumn("Affected", "ha"), TableColumn("Share", "share")) if affected else ()
    shares = () if affected else tuple(TableColumn(f"{name} (%)", "share") for name in shown)
    columns = (
        TableColumn("Field"), TableColumn("Mapped", "ha"), *in_affected, *(TableColumn(name, "ha") for name in shown),
        *shares,
    )  # fmt: skip
    return ReportTable("Fields", columns, tuple(_field_cells(part, affected, shown) for part in parts))


def _field_cells(
    rows: Sequence[AreaRow], affected: Collection[str], shown: Collection[str]
) -> tuple[str | float | None, ...]:
    """Name, hectares, hectares and share of the affected classes, hectares of each class that is shown.

    Without affected classes also the share of each class that is shown.
    """
    cells: list[str | float | None] = [rows[0].field, total_hectares(rows)]
    if affected:
        those = [row for row in rows if row.class_name in affected]
        cells += [total_hectares(those), sum(row.share_of_field or 0 for row in those)]
    those = [row for row in rows if row.class_name in shown]
    return *cells, *(row.hectares for row in those), *(row.share_of_field for row in those if not affected)


def total_hectares(rows: Sequence[AreaRow]) -> float | None:
    """Of several rows; None if that of one is unknown."""
    areas = [row.hectares for row in rows if row.hectares is not None]
    return float(sum(areas)) if len(areas) == len(rows) else None


def ground_classes(legend: Legend, named: Collection[str] | None) -> frozenset[int]:
    """Ids of the classes that are no plants: those that the user names, or for None those whose names say it.

    Raises:
        UsageError: no such class.
    """
    if named is None:
        return frozenset(entry.id for entry in legend if entry.name.strip().lower() in GROUND)
    return frozenset(class_id(legend, name, "--ground") for name in named)


def class_id(legend: Legend, name: str, flag: str) -> int:
    """Id of a class that a flag names.

    Raises:
        UsageError: there is none of that name, or it is `unsure`.
    """
    if legend.has_unsure and name == UNSURE:
        raise UsageError(f"{flag} {name}: these pixels have no class, so nobody knows that of them; leave {name} out")
    if name not in legend.names:
        raise UsageError(f"{flag} {name}: no such class; the map has {', '.join(legend.names)}")
    return legend.names.index(name)


def area_rows(
    field: str, stats: ZonalStats, legend: Legend, ground: Collection[int], agreement: ErrorMatrix | None
) -> list[AreaRow]:
    """The rows of one field, a class each; adjusted areas need the agreement of the model with its labels."""
    known = stats.square_metres
    extent = stats.pixels.astype(np.float64) if known is None else known  # shares need no metres
    plants = [k for k in range(len(legend)) if k not in ground and k != legend.unsure]
    adjusted = None if agreement is None or known is None else agreement.adjust(known, int(stats.pixels.sum()))
    rows = []
    for entry in legend:
        k = entry.id
        area, low, high = (None,) * 3 if adjusted is None else (adjusted.area[k], adjusted.low[k], adjusted.high[k])
        rows.append(
            AreaRow(
                field=field,
                class_name=entry.name,
                pixels=int(stats.pixels[k]),
                hectares=None if known is None else _hectares(known[k]),
                adjusted_ha=_hectares(area),
                low_ha=_hectares(low),
                high_ha=_hectares(high),
                share_of_field=_share(extent[k], extent.sum()),
                share_of_canopy=_share(extent[k], extent[plants].sum()) if ground and k in plants else None,
                mean_confidence=_share(stats.confidence[k], float(stats.pixels[k])),
                doubtful_ha=None if known is None else _hectares(stats.doubtful[k]),
            )
        )
    return rows


def _hectares(square_metres: float | None) -> float | None:
    return None if square_metres is None else round(float(square_metres) / HECTARE, 8)


def _share(part: float, whole: float) -> float | None:
    return round(float(part / whole), 8) if whole > 0 else None
