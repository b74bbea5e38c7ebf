"""`agriseg layers`."""

from pathlib import Path
from typing import Any

import click

from agriseg.cli.common.errors import end_on_signals, resume_hint, warn_about
from agriseg.cli.common.options import open_option, open_page, option_flags, parse
from agriseg.json_text import json_line
from agriseg.options.exports import ExportOptions
from agriseg.options.layers import LayerOptions


@click.command("layers", short_help="Areas, polygons, severity, zones and scouting points of finished maps.")
@click.argument("places", metavar="FOLDER|RECORD...", nargs=-1, required=True)
@option_flags(LayerOptions, ExportOptions)
@open_option
@click.option("--overwrite", is_flag=True, help="Replace existing layers.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per map.")
@click.option("-q", "--quiet", is_flag=True, help="No warnings.")
def command(places: tuple[str, ...], *, overwrite: bool, open_: bool, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Make the layers of finished maps of 'agriseg run', without running the network.

    Always: area table (CSV, JSON), polygons (GeoPackage), report. With --affected: severity, scouting points.

    \b
    Example:
      agriseg layers maps --affected weed
      agriseg layers maps/north_run.json --fields farm.gpkg --mmu 0.25m2 --affected rust_low=30%,rust_high
      agriseg layers maps --plots trial.geojson --plot-buffer -0.1m
    """
    end_on_signals()
    from agriseg.analysis.build import make_layers
    from agriseg.cli.common.format import show_layers
    from agriseg.export.exports import check_exports, write_exports
    from agriseg.maps.reader import find_records

    options = parse(LayerOptions, flags)
    exports = parse(ExportOptions, flags)
    check_exports(exports)
    for record in [record for place in places for record in find_records(Path(place))]:
        with resume_hint(record, "run the same command again"):
            made = make_layers(record, options, overwrite=overwrite)
        pages = write_exports(record, exports)
        warn_about(record, made.warnings, quiet=quiet)
        if as_json:
            click.echo(json_line(made.as_dict() | {"report": [str(path) for path in pages]}))
        else:
            click.echo("\n".join([show_layers(made), *map(str, pages)]))
        if open_:
            open_page(pages[0])
