"""`agriseg report`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from agriseg.cli.common.errors import end_on_signals, resume_hint, warn_about
from agriseg.cli.common.options import chosen, open_option, open_page, option_flags, parse
from agriseg.cli.common.progress import Progress
from agriseg.errors import UsageError
from agriseg.json_text import json_line
from agriseg.options.exports import ExportOptions
from agriseg.options.layers import LayerOptions
from agriseg.options.request import requested_layers

_LAYERS = "Also make the layers again, with the flags below or, without any, with the options of the existing layers."
_PATTERN = "Names of fields and dates, as for 'agriseg batch': '(?P<field>[^/]+)/(?P<date>[0-9-]+)'."


@click.command("report", short_help="HTML reports of finished maps; a season page of several.")
@click.argument("places", metavar="FOLDER|RECORD...", nargs=-1, required=True)
@click.option(
    "-o", "--out", metavar="FILE", help="Season page of several maps; default season.html in their shared folder."
)
@option_flags(ExportOptions)
@open_option
@click.option("--pattern", metavar="REGEX", help=_PATTERN)
@click.option("--layers", is_flag=True, help=_LAYERS)
@option_flags(LayerOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings.")
def command(
    places: tuple[str, ...], *, out: str | None, pattern: str | None, layers: bool, open_: bool, as_json: bool,
    quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Write the report of each finished map beside it: one HTML file that needs no network.

    A trend needs an earlier map: --previous names it; of several maps, each is compared with the one before it. Several
    maps also make a season page: fields by dates.

    \b
    Example:
      agriseg report maps --open
      agriseg report maps --layers --affected weed --lang zh
      agriseg report june/north_run.json --previous may/north_run.json
      agriseg report may june july -o season.html
    """
    end_on_signals()
    from agriseg.export.exports import check_exports, write_exports
    from agriseg.flight_date import expression_of
    from agriseg.maps.reader import find_records
    from agriseg.reports.timeline import MapEntry, write_timeline

    expression = expression_of(pattern)
    layer_flags = chosen(LayerOptions, flags)
    layer_options = requested_layers(layer_flags, layers=layers)
    exports = parse(ExportOptions, flags)
    check_exports(exports)
    records = list({record.resolve(): record for place in places for record in find_records(Path(place))}.values())
    page = _season_page(records, out)
    if layers:
        _make_layers(records, layer_options if layer_flags else None, quiet=quiet)
    flights = [MapEntry.of(record, _shared_folder(records), expression) for record in records] if page else []
    made: list[Path] = []
    with Progress("reports", quiet=quiet, unit="maps") as progress:
        for number, record in enumerate(records, 1):
            before = flights[number - 1].before(flights) if flights else None
            made += write_exports(record, exports if exports.previous else replace(exports, previous=before))
            progress(number, len(records))
    if page:
        write_timeline(page, flights, exports.lang)
        made.insert(0, page)
    if exports.stac and len(records) > 1:
        made.append(_collection(records))
    click.echo(json_line([str(path) for path in made]) if as_json else "\n".join(map(str, made)))
    if open_:
        open_page(made[0])


def _season_page(records: Sequence[Path], out: str | None) -> Path | None:
    """The file of the season page; None for a single map."""
    if len(records) > 1:
        return Path(out) if out else _shared_folder(records) / "season.html"
    if out:
        raise UsageError(f"-o {out}: names the page of several maps; the report of a single map is written beside it")
    return None


def _shared_folder(records: Sequence[Path]) -> Path:
    """The deepest folder that contains all maps; absolute only if a map is named by an absolute path."""
    folders = [record.parent for record in records]
    if any(folder.is_absolute() for folder in folders):
        folders = [folder.absolute() for folder in folders]
    return Path(os.path.commonpath(folders))


def _make_layers(records: Sequence[Path], options: LayerOptions | None, *, quiet: bool) -> None:
    """Make layers, without options with those of the existing layers."""
    from agriseg.analysis.build import make_layers, options_of

    with Progress("layers", quiet=quiet, unit="maps") as progress:
        for number, record in enumerate(records, 1):
            with resume_hint(record, "run the same command again"):
                made = make_layers(record, options or options_of(record), overwrite=True)
            warn_about(record, made.warnings, quiet=quiet)
            progress(number, len(records))


def _collection(records: Sequence[Path]) -> Path:
    from agriseg.export.stac import write_collection
    from agriseg.maps.record import RECORD

    items = [record.with_name(f"{record.name.removesuffix(RECORD)}_stac.json") for record in records]
    return write_collection(_shared_folder(records), items)
