"""`agriseg evaluate`."""

import json
from pathlib import Path
from typing import Any

import click

from agriseg.cli.options import label_values, run_flags, run_options
from agriseg.errors import UsageError


@click.command("evaluate", short_help="Score a model, or a finished map, against labels.")
@click.argument("image")
@click.argument("labels")
@click.option("--mask", metavar="FILE", help="Score this map of the image instead of mapping it with a model.")
@click.option("--confidence", metavar="FILE", help="The map's confidence layer, for the calibration error.")
@click.option("--classes", metavar="LIST", help="Class names of the map; only with --mask.")
@click.option("--values", metavar="LIST", help="Each class's number in the labels; 0, 1, 2, ... if not given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@run_options
def command(
    image: str, labels: str, mask: str | None, confidence: str | None, classes: str | None, values: str | None,
    model: str | None, *, as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Score a model on a labelled raster, mapped at the raster's own resolution, or score a finished map.

    \b
    Example:
      agriseg evaluate field.tif labels.tif -m weeds.safetensors
      agriseg evaluate field.tif labels.tif --mask field_classes.tif --classes soil,crop,weed --json
    """
    import tempfile

    from agriseg.cli.show import show_evaluation
    from agriseg.config import RunOptions
    from agriseg.jobs.evaluate import evaluate, tally, tally_model
    from agriseg.legend import Legend
    from agriseg.model import load_model
    from agriseg.training.labels import Labels

    options = RunOptions.of(**run_flags(flags))
    if options.gsd not in ("auto", "native"):
        raise UsageError(f"--gsd {flags['gsd']}, but labels lie on the raster's own grid; leave it out")
    if (mask is None) == (model is None):
        raise UsageError("give either -m with a model, or --mask with its --classes")
    if mask is not None and classes is None:
        raise UsageError("--mask without --classes; name the map's classes in order")
    loaded = None if model is None else load_model(model)
    legend = loaded.legend if loaded else Legend.from_names((classes or "").split(","))
    truth = Labels.of(Path(labels), label_values(values, len(legend)))
    if loaded is not None:
        with tempfile.TemporaryDirectory(prefix="agriseg-") as folder:
            counted = tally_model(loaded, Path(image), truth, Path(folder), options)
    else:
        origin = (options.window.col_off, options.window.row_off) if options.window else None
        counted = tally(Path(mask or ""), Path(confidence) if confidence else None, truth, len(legend), origin)
    scores = evaluate([counted], legend).as_dict()
    click.echo(json.dumps(scores) if as_json else show_evaluation(scores))
