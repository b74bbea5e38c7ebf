"""The pages of a prescription: a sheet for the driver, one page of A4, and a report with the curve."""

from collections.abc import Sequence
from pathlib import Path

from agriseg import files
from agriseg.errors import OutputError
from agriseg.prescription.measured.cell_sizes import CellSize
from agriseg.prescription.measured.curve import CurvePoint, MissCurve
from agriseg.prescription.miss_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, MissChart
from agriseg.prescription.rates_picture import RatesPicture
from agriseg.prescription.sheet import MadePrescription, Sheet
from agriseg.reports.html import Cell, Table, package_text, render
from agriseg.reports.report import is_page
from agriseg.reports.translations import Translator


def page_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """The sheet and the report of a prescription."""
    return folder / f"{name}_sheet.html", folder / f"{name}_rx_report.html"


def write_pages(folder: Path, made: MadePrescription, lang: str) -> tuple[Path, Path]:
    """Write the sheet and the report into a folder, over earlier ones, in `lang` (en or zh).

    Raises:
        OutputError: a file that is no page of agriseg's has the name.
    """
    t, curve = Translator(lang), made.curve
    sheet, rules = Sheet.of(made, t), package_text("rx.css")
    picture = RatesPicture.of(made.map, made.written.written)
    chart, table = (MissChart.of(curve), _table(curve, t)) if curve else (None, None)
    texts = (
        render("rx_sheet.html.j2", t, rules=rules, sheet=sheet, picture=picture),
        render(
            "rx_report.html.j2",
            t,
            rules=rules,
            sheet=sheet,
            curve=curve,
            sizes=_size_table(made.cell_sizes, t),
            chart=chart,
            table=table,
            chart_size=(WIDTH, HEIGHT),
            frame=(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM),
        ),
    )
    pages = page_paths(folder, sheet.title)
    for page, text in zip(pages, texts, strict=True):
        if page.exists() and not is_page(page):
            raise OutputError(f"{page}: exists and is no page of agriseg's; move it away")
        files.write_text(page, text)
    return pages


def _table(curve: MissCurve, t: Translator) -> Table:
    head = t("Threshold"), t("Doubtful pixels"), t("Sprayed"), t("Missed plants"), "95 %", t("Missed area")
    return Table(t("Sprayed and missed, by the threshold"), head, tuple(_row(point, t) for point in curve.points))


def _size_table(sizes: Sequence[CellSize], t: Translator) -> Table:
    head = t("Cell"), t("Sprayed"), t("Missed plants"), "95 %", t("Missed area"), t("Floor")
    rows = (
        (
            (each.side, t.length(each.side)),
            *_row(each.point, t)[2:],
            (each.floor_sprayed, t.percent(each.floor_sprayed)),
        )
        for each in sizes
    )
    return Table(t("The same threshold with other cells"), head, tuple(rows))


def _row(point: CurvePoint, t: Translator) -> tuple[Cell, ...]:
    low, high = point.plants.share_95
    return (
        (point.threshold, f"{point.threshold:g}"),
        (float(point.treat_doubtful), t("treated") if point.treat_doubtful else t("skipped")),
        (point.sprayed, t.percent(point.sprayed)), (point.plants.share, t.percent(point.plants.share)),
        (high, t("{low} to {high}", low=t.percent(low), high=t.percent(high))), (point.area, t.percent(point.area)),
    )  # fmt: skip
