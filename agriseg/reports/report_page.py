"""The page that somebody opens at six in the morning: what is wrong, where, how sure it is, and how it was made.

One file that fetches nothing: its content-security policy allows the style and the script whose hashes it names, and
pictures within the page.
"""

import hashlib
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as package_files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from agriseg.maps.record import RunRecord
from agriseg.reports.map_figure import MapPicture
from agriseg.reports.map_summary import MapSummary
from agriseg.reports.translations import Translator

GENERATOR = '<meta name="generator" content="agriseg">'
"""Is in each page, and in no other file that might have its name."""
_SMALL_CHANGE = 0.02  # share of the mapped ground by which two maps may differ and still be of one field
_FIELDS_CLASSES = 6  # that a table of fields has columns for


@dataclass(frozen=True)
class Outline:
    """Something with a name that is drawn on the map: `path` in the picture's pixels; `kind` is field or zone."""

    kind: str
    name: str
    path: str


@dataclass(frozen=True)
class ReportData:
    """What a report tells.

    Args:
        now: the map in numbers.
        record: of the run.
        layers: record of its layers, or None.
        picture: the map.
        spots: shares of the map's width and height of each scout point, in their order.
        outlines: of fields and zones.
        before: an earlier map of the field, or None.
        warnings: what came up when the page was made.
    """

    now: MapSummary
    record: RunRecord
    layers: Mapping[str, Any] | None
    picture: MapPicture
    spots: Sequence[tuple[float, float]] = ()
    outlines: Sequence[Outline] = ()
    before: MapSummary | None = None
    warnings: Sequence[str] = field(default_factory=tuple)

    @property
    def all_warnings(self) -> list[str]:
        """Of the run, its layers and this page, each once."""
        told = [*self.record.warnings, *(self.layers or {}).get("warnings", ()), *self.warnings]
        return list(dict.fromkeys(told))


def report_page(story: ReportData, words: Translator) -> str:
    """HTML; every name in it is escaped."""
    return render(
        "report.html.j2",
        words,
        script="report.js",
        rules=_toggles(story),
        story=story,
        trend=_trend(story),
        classes=_classes(story),
        tables=[table for table in (_fields(story, words), _zones(story, words)) if table],
        causes=_causes(story, words),
        bins=_bins(story),
        model=_model(story),
        making=_making(story, words),
        data=_data(story, words),
    )


def render(name: str, words: Translator, script: str | None = None, rules: str = "", **context: Any) -> str:
    """A page in a language, with its style, its scripts and the policy that allows just these.

    Args:
        name: of a template in the package's data.
        words: the language.
        script: after the one that sorts tables.
        rules: of style, beside those of all pages.
        context: what the template shows.
    """
    style, code = package_text("page.css") + rules, package_text("table.js") + (package_text(script) if script else "")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(code)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    return template(name).render(
        words=words, t=words, generator=GENERATOR, policy=policy, style=style, code=code, **context
    )


@cache
def package_text(name: str) -> str:
    """A text file of the package's data."""
    return package_files("agriseg").joinpath("data", name).read_text("utf-8")


@cache
def template(name: str) -> Template:
    """A template of the package's data, compiled."""
    around = Environment(
        loader=PackageLoader("agriseg", "data"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return around.get_template(name)


def _hash(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _toggles(story: ReportData) -> str:
    """Rules by which a class is seen or not, with scripts off too."""
    ids = (each.entry.id for each in story.picture.classes)
    return "".join(f"body:has(#t{k}:not(:checked)) .c{k} {{ display: none; }}\n" for k in ids)


def _trend(story: ReportData) -> dict[str, Any] | None:
    """Change since the earlier map: in hectares where both show the same ground, else in shares."""
    now, before = story.now, story.before
    if before is None or before.affected_share is None or now.affected_share is None:
        return None
    other_ground = _differ(now.hectares, before.hectares)
    one, two = now.affected_hectares, before.affected_hectares
    in_hectares = one is not None and two is not None and not other_ground
    return {
        "change": (one or 0) - (two or 0) if in_hectares else now.affected_share - before.affected_share,
        "in_hectares": in_hectares,
        "before": before,
        "other_ground": other_ground,
        "other_model": now.model != before.model,
    }


def _differ(one: float | None, two: float | None) -> bool:
    """Whether so many hectares are not the same ground."""
    return one is not None and two is not None and abs(one - two) > _SMALL_CHANGE * max(one, two)


def _classes(story: ReportData) -> list[dict[str, Any]]:
    """Rows of the class table in the legend's order, with the picture of those that occur."""
    drawn = {each.entry.name: each for each in story.picture.classes}
    widest = max([row.get("share_of_field") or 0 for row in story.now.rows], default=0) or 1
    rows = []
    for index, row in enumerate(story.now.rows):
        mapped = row.get("hectares")
        ends = [end for name in ("low_ha", "high_ha") if (end := row.get(name)) is not None]
        scale = (row.get("share_of_field") or 0) / mapped / widest if mapped else None
        rows.append({
            "id": index, "drawn": drawn.get(row["class"]), "affected": row["class"] in story.now.affected,
            "bar": 100 * (row.get("share_of_field") or 0) / widest,
            "ends": [min(100.0, 100 * end * (scale or 0)) for end in ends],
            **row,
        })  # fmt: skip
    return rows


def _fields(story: ReportData, words: Translator) -> dict[str, Any] | None:
    """The fields, a row each; None without any."""
    if story.layers is None:
        return None
    count = len(story.now.rows)
    rows = [story.layers["areas"][start : start + count] for start in range(count, len(story.layers["areas"]), count)]
    if not rows:
        return None
    trouble = story.now.affected
    shown = [row["class"] for row in story.now.rows] if count <= _FIELDS_CLASSES else list(trouble)
    head = [words("Field"), words("Mapped"), *([words("Affected"), words("Share")] if trouble else []), *shown]
    return {"title": words("Fields"), "head": head, "rows": [_field_row(part, trouble, shown, words) for part in rows]}


def _field_row(
    part: Sequence[Mapping[str, Any]], trouble: Sequence[str], shown: Sequence[str], words: Translator
) -> list[tuple[Any, str]]:
    """Cells of a field: what to sort by, and what to show."""
    total = _sum(part)
    cells: list[tuple[Any, str]] = [(part[0]["field"], part[0]["field"]), (total, words.area(total))]
    if trouble:
        bad = [row for row in part if row["class"] in trouble]
        share = sum(row["share_of_field"] or 0 for row in bad)
        cells += [(_sum(bad), words.area(_sum(bad))), (share, words.percent(share))]
    return cells + [(row["hectares"], words.area(row["hectares"])) for row in part if row["class"] in shown]


def _sum(rows: Sequence[Mapping[str, Any]]) -> float | None:
    areas = [row["hectares"] for row in rows]
    return None if None in areas else float(sum(areas))


def _zones(story: ReportData, words: Translator) -> dict[str, Any] | None:
    zones = (story.layers or {}).get("zones")
    if not zones:
        return None
    head = [words("Zone"), words("Area"), words("Mean"), words("From"), words("To")]
    rows = [
        [
            (zone["number"], words("zone {number}", number=zone["number"])),
            (zone["hectares"], words.area(zone["hectares"])),
            *((zone[name], f"{zone[name]:.3g}") for name in ("mean", "low", "high") if name in zone),
        ]
        for zone in zones
    ]  # fmt: skip
    return {"title": words("Zones"), "head": head[: len(rows[0])], "rows": rows}


_CAUSES = {
    "distance": "Its colours lie {value:.1f} deviations from those of the training (limits {amber:g}, {red:g}): other "
    "light, camera or ground, or bands in another order.",
    "gsd_ratio": "Its pixels are {value:.2f} times as coarse, or as fine, as those of the training (limits {amber:g}, "
    "{red:g}).",
    "doubtful": "The network doubts {value:.1%} of the pixels (limits {amber:.0%}, {red:.0%}).",
    "nodata": "{value:.1%} of it are no data (limits {amber:.1%}, {red:.1%}).",
    "failed": "{value:.2%} of it could not be read.",
    "colours_unknown": "Its colours are compared with nothing: the model's card has no correlations of its training.",
    "sample_small": "Just {value:,} pixels with data were met where numbers and colours were looked at before the run.",
    "gsd_unknown": "The raster's ground resolution is unknown, and the model knows its own.",
}


def _causes(story: ReportData, words: Translator) -> list[str]:
    """Why the verdict is not green."""
    return [words(_CAUSES[cause.what], **vars(cause)) for cause in story.record.verdict.causes]


def _bins(story: ReportData) -> list[dict[str, float]]:
    """Bars of the histogram of confidence: from, to, share, and height in percent of the tallest, by square roots."""
    pixels, step = story.record.confidence.pixels, story.record.confidence.bin
    if not sum(pixels):
        return []
    return [
        {
            "low": k * step,
            "high": (k + 1) * step,
            "share": each / sum(pixels),
            "height": 100 * math.sqrt(each / max(pixels)),
        }
        for k, each in enumerate(pixels)
    ]


def _model(story: ReportData) -> dict[str, Any]:
    """The model's name and its scores, if its card has any."""
    scores = story.record.model.evaluation or {}
    return {
        "name": story.record.model.name,
        "miou": scores.get("miou"),
        "classes": scores.get("classes", ()),
        "scores": scores,
    }


def _making(story: ReportData, words: Translator) -> list[tuple[str, str]]:
    """What made the map, as name and text."""
    record = story.record
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
        ("Device", f"{how.device}, {how.precision}"),
        ("Pixels", ", ".join(f"{words(name)} {count:,}" for name, count in vars(record.pixels).items())),
        ("Finished", record.finished),
        ("Seconds", f"{record.seconds.total:,.0f}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("Layers' options", _chosen((story.layers or {}).get("options"))),
    ]
    return [(words(name), str(text)) for name, text in rows if text]


def _chosen(options: Mapping[str, Any] | None) -> str | None:
    """Those options of the layers that say something."""
    return None if options is None else ", ".join(f"{name} {value}" for name, value in options.items() if value)


def _data(story: ReportData, words: Translator) -> dict[str, Any]:
    """What the script needs."""
    picture = story.picture
    return {
        "width": picture.width, "height": picture.height, "columns": picture.columns, "rows": picture.rows,
        "gsd": picture.gsd and picture.gsd[0], **picture.place,
        "classes": {str(each.entry.id): each.entry.name for each in picture.classes},
        "words": {
            "none": words("no data"), "doubtful": words("doubtful"), "column": words("column"), "row": words("row"),
        },
    }  # fmt: skip
