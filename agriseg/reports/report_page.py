"""The report of a map: what is affected, where, how reliable the map is, and how it was made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agriseg.analysis import build
from agriseg.analysis.area_table import AreaRow
from agriseg.analysis.layer import ReportTable, TableColumn
from agriseg.analysis.record import LayersRecord
from agriseg.analysis.scouting import ScoutPoint, recorded_points
from agriseg.analysis.severity import SeverityPercent
from agriseg.maps.record import RunRecord
from agriseg.options.layers import LayerOptions
from agriseg.options.table import flags_of
from agriseg.reports.html import Table, render
from agriseg.reports.map_figure import ClassPicture, MapPicture
from agriseg.reports.map_summary import MapSummary
from agriseg.reports.translations import NOTHING, Translator
from agriseg.units import human_metres

_UNITS = {"LENGTH": " m", "AREA": " m2"}  # of options, by the name of their value
_SMALL_CHANGE = 0.02  # share of the mapped ground by which two maps may differ and still be of one field


@dataclass(frozen=True)
class Outline:
    """A named polygon on the map: `path` in pixels of the picture; `kind` is field or zone."""

    kind: str
    name: str
    path: str


@dataclass(frozen=True)
class ReportData:
    """The content of a report; None where a map has no layers, or no earlier map.

    `spots` are the scouting points, as shares of the map's width and height; `outlines` are fields and zones.
    """

    now: MapSummary
    record: RunRecord
    layers: LayersRecord | None
    picture: MapPicture
    spots: Sequence[tuple[float, float]]
    outlines: Sequence[Outline]
    before: MapSummary | None
    warnings: Sequence[str]

    @property
    def all_warnings(self) -> list[str]:
        """Warnings of the run, its layers and this page, without duplicates."""
        of_layers = () if self.layers is None else self.layers.warnings
        return list(dict.fromkeys([*self.record.warnings, *of_layers, *self.warnings]))


def report_page(report: ReportData, words: Translator) -> str:
    """HTML; every name in it is escaped."""
    return render(
        "report.html.j2",
        words,
        script="report.js",
        rules=_toggles(report),
        report=report,
        trend=_trend(report),
        classes=_classes(report),
        tables=_tables(report, words),
        severity=None if report.layers is None else report.layers.fact("severity", SeverityPercent),
        largest=None if report.layers is None else report.layers.fact("largest", ScoutPoint),
        points=() if report.layers is None else recorded_points(report.layers),
        unsure=None if report.record.min_confidence is None else report.now.rows[-1],
        least=report.record.min_confidence,
        causes=_causes(report, words),
        bins=_bins(report),
        scores=(report.record.model.evaluation or {}).get("classes", ()),
        patches=_patches(report, words),
        making=_making(report, words),
        class_names={str(each.entry.id): each.entry.name for each in report.picture.classes},
    )


def _patches(report: ReportData, words: Translator) -> list[str]:
    """How many patches of each class the model finds, of the smallest size in its card; empty if it has none."""
    smallest: dict[str, Mapping[str, Any]] = {}
    for each in (report.record.model.evaluation or {}).get("patches", ()):
        smallest.setdefault(each["name"], each)
    return [
        words(
            "The model finds {found} of {labelled} patches of {name} of {size} and more; {wrong} of {mapped} patches "
            "that it maps are wrong.",
            found=each["found"]["part"], labelled=each["found"]["whole"], name=name,
            size=human_metres(each["least"]) if each["unit"] == "m" else f"{each['least']:g} px",
            wrong=each["wrong"]["part"], mapped=each["wrong"]["whole"],
        )
        for name, each in smallest.items()
    ]  # fmt: skip


def _toggles(report: ReportData) -> str:
    """Style rules that show and hide each class, also without scripts."""
    ids = (each.entry.id for each in report.picture.classes)
    return "".join(f"body:has(#t{k}:not(:checked)) .c{k} {{ display: none; }}\n" for k in ids)


@dataclass(frozen=True)
class Trend:
    """Change of the affected area since an earlier map, in hectares or as a difference of shares (0 to 1)."""

    change: float
    in_hectares: bool
    before: MapSummary
    other_ground: bool
    other_model: bool


def _trend(report: ReportData) -> Trend | None:
    """None without an earlier map, or without affected classes in both."""
    now, before = report.now, report.before
    if before is None or before.affected_share is None or now.affected_share is None:
        return None
    other_ground = _differ(now.hectares, before.hectares)
    one, two = now.affected_hectares, before.affected_hectares
    in_hectares = one is not None and two is not None and not other_ground
    change = (one or 0) - (two or 0) if in_hectares else now.affected_share - before.affected_share
    return Trend(change, in_hectares, before, other_ground, now.model != before.model)


def _differ(one: float | None, two: float | None) -> bool:
    """Whether two areas in hectares differ by more than the limit."""
    return one is not None and two is not None and abs(one - two) > _SMALL_CHANGE * max(one, two)


@dataclass(frozen=True)
class ClassRow:
    """A class of the map in the report.

    Args:
        drawn: its picture; None if it does not occur.
        bar: length in percent of the widest bar.
        ends: ends of the 95 % interval on the same scale; empty if unknown.
    """

    areas: AreaRow
    drawn: ClassPicture | None
    affected: bool
    bar: float
    ends: tuple[float, ...]


def _classes(report: ReportData) -> list[ClassRow]:
    """Rows of the class table in the legend's order."""
    drawn = {each.entry.name: each for each in report.picture.classes}
    widest = max([row.share_of_field or 0 for row in report.now.rows], default=0) or 1
    rows = []
    for row in report.now.rows:
        bar = 100 * (row.share_of_field or 0) / widest
        per_hectare = bar / row.hectares if row.hectares else 0
        ends = tuple(min(100.0, end * per_hectare) for end in (row.low_ha, row.high_ha) if end is not None)
        rows.append(ClassRow(row, drawn.get(row.class_name), row.class_name in report.now.affected, bar, ends))
    return rows


def _tables(report: ReportData, words: Translator) -> list[Table]:
    """Tables of the layers, those of `MAP_LAYERS` that have one."""
    if report.layers is None:
        return []
    tables = (layer.table(report.layers) for layer in build.MAP_LAYERS)
    return [_translated(table, words) for table in tables if table is not None]


def _translated(table: ReportTable, words: Translator) -> Table:
    head = tuple(words.label(column.title) for column in table.columns)
    rows = [
        tuple((value, _cell(value, column, words)) for value, column in zip(row, table.columns, strict=True))
        for row in table.rows
    ]
    return Table(words.label(table.title), head, tuple(rows))


def _cell(value: str | float | None, column: TableColumn, words: Translator) -> str:
    if isinstance(value, str):
        return value
    if column.unit == "ha":
        return words.area(value)
    if column.unit == "share":
        return words.percent(value)
    if column.text is not None:
        return words(column.text, number=value)
    return NOTHING if value is None else f"{value:.3g}"


def _causes(report: ReportData, words: Translator) -> list[str]:
    """Why the verdict is not green."""
    reasons = (words(cause.sentence, **vars(cause)) for cause in report.record.verdict.causes)
    return [f"{reason[0].upper()}{reason[1:]}" for reason in reasons]


@dataclass(frozen=True)
class HistogramBin:
    """A bar of the confidence histogram; `height` is in percent of the tallest, by square roots."""

    low: float
    high: float
    share: float
    height: float


def _bins(report: ReportData) -> list[HistogramBin]:
    """The confidence histogram; empty without valid pixels."""
    pixels, step = report.record.confidence.pixels, report.record.confidence.bin
    total, most = sum(pixels), max(pixels, default=0)
    if not total:
        return []
    return [
        HistogramBin(k * step, (k + 1) * step, count / total, 100 * math.sqrt(count / most))
        for k, count in enumerate(pixels)
    ]


def _making(report: ReportData, words: Translator) -> list[tuple[str, str]]:
    """How the map was made, as name and text."""
    record = report.record
    image, model, how = record.input, record.model, record.parameters
    rows = [
        ("Image", image.path),
        ("SHA-256 of the image", image.sha256),
        ("Size", f"{image.width:,} x {image.height:,} px, {image.bands} x {image.dtype}"),
        ("Coordinate system", image.crs),
        ("Model", f"{model.name} ({model.architecture})"),
        ("Fingerprint of the weights", model.fingerprint),
        ("Bands", ", ".join(f"{role} = {number}" for role, number in how.bands.items())),
        ("Tile, overlap, margin", f"{how.tile_px} px, {how.overlap_px} px, {how.margin_px} px ({how.blend})"),
        ("Labels unlike an untiled run", "" if record.tiling is None else record.tiling.labels),
        ("Least confidence", "" if record.min_confidence is None else f"{record.min_confidence:g}"),
        ("Device", f"{how.device}, {how.precision}"),
        ("Pixels", ", ".join(f"{words(name)} {count:,}" for name, count in vars(record.pixels).items())),
        ("Finished", record.finished),
        ("Seconds", f"{record.seconds.total:,.0f}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("Layers' options", _options(report.layers)),
    ]
    return [(words(name), str(text)) for name, text in rows if text]


def _options(layers: LayersRecord | None) -> str:
    """The options of the layers that are set, as a user writes them."""
    if layers is None:
        return ""
    named = [(name, layers.options.get(name), flag.metavar or "") for name, flag in flags_of(LayerOptions).items()]
    return "; ".join(f"{name.replace('_', ' ')} {_option(value, metavar)}" for name, value, metavar in named if value)


def _option(value: object, metavar: str) -> str:
    if isinstance(value, Mapping):  # classes with the percent of their area that counts
        return ", ".join(name if percent == 100 else f"{name}={percent:g}%" for name, percent in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    number = f"{value:g}" if isinstance(value, float) else "yes" if value is True else str(value)
    return number + _UNITS.get(metavar, "")
