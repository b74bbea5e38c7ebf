"""`agriseg rx`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import end_on_signals, resume_hint, warn
from agriseg.cli.common.options import open_option, open_page, option_flags, parse
from agriseg.errors import UsageError
from agriseg.json_text import json_line
from agriseg.options.exports import LANGUAGES
from agriseg.options.labels import LabelOptions
from agriseg.options.prescription import RxOptions

if TYPE_CHECKING:
    from agriseg.prescription.make import RxResult

_MACHINE = (
    "Form of the files: isoxml, shapefile, john-deere, trimble, cnh, fieldview, dji-agras and others "
    "(docs/prescription.md)."
)
_VALIDATION = (
    "Finished maps of the same model and the labels of their images: what is missed is counted there. MAPS is a record "
    "or a folder, LABELS a file or a folder."
)
_MAX_MISSED = "Choose the threshold that misses at most this share of the plants, with 97.5 % certainty: 5%."


@click.command("rx", short_help="A prescription for a sprayer or spreader, from a finished map.")
@click.argument("map_", metavar="FOLDER|RECORD")
@option_flags(RxOptions)
@click.option("--machine", metavar="NAME", required=True, help=_MACHINE)
@click.option("-o", "--out", metavar="FOLDER", required=True, help="Folder of the files.")
@click.option("--validation", nargs=2, multiple=True, metavar="MAPS LABELS", help=_VALIDATION)
@click.option("--max-missed", metavar="SHARE", help=_MAX_MISSED)
@option_flags(LabelOptions)
@click.option("--lang", type=click.Choice(LANGUAGES), default="en", help="Language of the pages.")
@click.option("--despite-verdict", is_flag=True, help="Take a map whose verdict is red.")
@open_option
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No warnings.")
def command(
    map_: str, *, machine: str, out: str, validation: tuple[tuple[str, str], ...], max_missed: str | None, lang: str,
    despite_verdict: bool, open_: bool, overwrite: bool, as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Make the files with which a machine treats the spots or zones of a finished map of 'agriseg run'.

    Writes the files of the machine, a GeoPackage for QGIS, a sheet for the driver, a report and a record. Each file is
    read back and compared before it gets its name. With labelled maps the command tells what is missed.

    \b
    Example:
      agriseg rx maps --spot weed --rate 200 --unit l/ha --cell 0.5m --min-area 25cm2 --doubtful skip --machine isoxml -o rx
      agriseg rx maps --spot weed --rate 200 --unit l/ha --cell 0.5m --min-area 25cm2 --doubtful treat --machine isoxml --fields farm.gpkg --exclude water.geojson --exclude-buffer 5m --validation labelled_maps labels --max-missed 5% -o rx
      agriseg rx maps --zones maps/north.gpkg:zones --rates 'zone 1=150,zone 2=100,zone 3=0' --unit kg/ha --cell 3m --heading auto --machine john-deere -o rx
    """  # noqa: E501  (an example is one line)
    end_on_signals()
    from agriseg import units
    from agriseg.maps.reader import find_records
    from agriseg.prescription.make import RxRequest, make_prescription

    records = find_records(Path(map_))
    if len(records) > 1:
        raise UsageError(f"{map_}: has {len(records)} maps; name the record of one, such as {records[0]}")
    request = RxRequest(
        parse(RxOptions, flags), machine, tuple((Path(maps), Path(labels)) for maps, labels in validation),
        parse(LabelOptions, flags), None if max_missed is None else units.share(max_missed), lang, despite_verdict,
        overwrite,
    )  # fmt: skip
    with resume_hint(Path(out), "run the same command again"):
        result = make_prescription(records[0], Path(out), request)
    for text in () if quiet else (*result.made.plan.warnings, *result.record.doubts, *result.record.losses):
        warn(text)
    click.echo(json_line(result.record) if as_json else shown(result))
    if open_:
        open_page(result.paths[-3])


def shown(result: "RxResult") -> str:
    """What is sprayed and missed, in plain words, and the files."""
    from agriseg.prescription.sheet import amount_text, missed_text
    from agriseg.reports.translations import Translator

    t, balance, made = Translator("en"), result.made.plan.balance, result.made
    amount = amount_text(made.written.written.amount, result.record.amount_unit)
    share = balance.treated_hectares / balance.field_hectares if balance.field_hectares else 0.0
    ground = f"{t.area(balance.treated_hectares)} of {t.area(balance.field_hectares)} ({t.percent(share)})"
    lines = [f"sprays {ground}; {amount}"]
    if made.curve is not None:
        point = made.curve.chosen
        sentence = missed_text(point, t)
        doubt = "treated" if point.treat_doubtful else "skipped"
        lines.append(f"{sentence[0].lower()}{sentence[1:]} Threshold {point.threshold:g}, doubtful pixels {doubt}.")
        if (floor := made.curve.floor_sprayed) is not None:
            lines.append(
                f"on the labelled ground it sprays {t.percent(point.sprayed)}; perfect knowledge would spray "
                f"{t.percent(floor)} and miss no more"
            )
    elif made.options.spot:
        lines.append("nobody has measured what it misses; --validation MAPS LABELS does")
    left = balance.left_out
    if left.total:
        lines.append(f"{t.area(left.total)} of the plants on the map are not treated; {result.paths[-2].name} says why")
    return "\n".join([*lines, *map(str, result.paths)])
