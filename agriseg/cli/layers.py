"""`agriseg layers`."""

from pathlib import Path
from typing import Any

import click

from agriseg.cli.common.export_options import handover, handover_options, open_page
from agriseg.cli.common.layer_options import layer_flags, layer_options
from agriseg.cli.common.options import config_option, warn
from agriseg.cli.common.signals import end_on_signals, resume_hint
from agriseg.json_text import json_line


@click.command("layers", short_help="From finished maps to hectares, polygons, severity, zones and scout points.")
@click.argument("places", metavar="FOLDER|RECORD...", nargs=-1, required=True)
@layer_options
@handover_options
@click.option("--overwrite", is_flag=True, help="Replace layers that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a map.")
@click.option("-q", "--quiet", is_flag=True, help="No warnings.")
@config_option
def command(places: tuple[str, ...], *, overwrite: bool, open_: bool, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Make the layers that a grower reads from maps that 'agriseg run' has finished; no network runs.

    Always: the table of areas (CSV, JSON), polygons (GeoPackage), the report. With --affected: severity, scout points.

    \b
    Example:
      agriseg layers maps --affected weed
      agriseg layers maps/north_run.json --fields farm.gpkg --mmu 0.25m2 --affected rust_low=30%,rust_high
      agriseg layers maps --plots trial.geojson --plot-buffer -0.1m
    """
    end_on_signals()
    from agriseg.analysis.build import make_layers
    from agriseg.cli.common.format import show_layers
    from agriseg.maps.reader import find_records
    from agriseg.options.layers import LayerOptions

    options, wanted = LayerOptions.of(**layer_flags(flags)), handover(flags)
    for record in [record for place in places for record in find_records(Path(place))]:
        with resume_hint(record, "run the same command again"):
            made = make_layers(record, options, overwrite=overwrite)
        pages = wanted.make(record)
        for text in [] if quiet else made.warnings:
            warn(f"{record}: {text}")
        if as_json:
            click.echo(json_line(made.as_dict() | {"report": [str(path) for path in pages]}))
        else:
            click.echo("\n".join([show_layers(made), *map(str, pages)]))
        if open_:
            open_page(pages[0])
