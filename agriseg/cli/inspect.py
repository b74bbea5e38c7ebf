"""`agriseg inspect`."""

from pathlib import Path
from typing import Any

import click

from agriseg.cli.common.options import chosen_model, parse, run_options
from agriseg.options.run import RunOptions


@click.command("inspect", short_help="Print the plan of a run.")
@click.argument("image", metavar="IMAGE")
@run_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(image: str, model: str | None, *, as_json: bool, **flags: Any) -> None:
    """Print what `run` would do with a raster: bands, validity, ground resolution, tiles, memory, warnings.

    \b
    Example:
      agriseg inspect field.tif -m weeds.safetensors
    """
    from agriseg.cli.common.format import show_prepared, show_raster
    from agriseg.errors import DataError
    from agriseg.mapping.prepare import prepare
    from agriseg.model import load_model
    from agriseg.raster.header import RasterInfo

    options = parse(RunOptions, flags)
    file, warning = chosen_model(model)
    loaded = load_model(file)
    try:
        prepared = prepare(Path(image), loaded, options)
    except DataError:
        if not as_json:  # the header shows what does not fit
            for name, text in show_raster(RasterInfo.read(Path(image))):
                click.echo(f"{name:>8}  {text}")
        raise
    show_prepared(prepared, as_json=as_json)
    if warning and not as_json:
        click.echo(f"{'warning':>8}  {warning}")
