"""`agriseg evaluate`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.label_options import class_names, label_options, label_request
from agriseg.cli.common.options import run_flags, run_options, warn
from agriseg.errors import OutputError, UsageError
from agriseg.json_text import json_line

if TYPE_CHECKING:
    from agriseg.evaluation.evaluate import Evaluation


@click.command("evaluate", short_help="Score a model, or a finished map, against labels.")
@click.argument("image")
@click.argument("labels")
@click.option("--mask", metavar="FILE", help="Score this map of the image instead of mapping it with a model.")
@click.option("--confidence", metavar="FILE", help="The map's confidence layer, for the calibration error.")
@click.option("--classes", metavar="LIST", help="Class names of the map; only with --mask.")
@label_options
@click.option(
    "-o", "--out", metavar="FOLDER", help="Also keep the scores as JSON, the confusion as a picture, the maps."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@run_options
def command(image: str, labels: str, out: str | None, model: str | None, *, as_json: bool, **given: Any) -> None:
    """Score a model on a labelled raster, or on a folder of them, mapped at their own resolution; or a finished map.

    \b
    Example:
      agriseg evaluate field.tif labels.tif -m weeds.safetensors
      agriseg evaluate images masks --label-suffix _mask -m weeds.safetensors -o scores
      agriseg evaluate field.tif labels.tif --mask field_classes.tif --classes soil,crop,weed --json
    """
    flags = run_flags(given)
    _refuse(given, flags, model)
    if out is not None and Path(out).exists() and any(Path(out).iterdir()):
        raise OutputError(f"{out}: holds something; choose another -o")
    import tempfile

    from agriseg.cli.common.format import show_evaluation
    from agriseg.files import make_folder
    from agriseg.training.run import save_evaluation

    with tempfile.TemporaryDirectory(prefix="agriseg-") as spare:
        folder = Path(out or spare)
        make_folder(folder)
        evaluation = _evaluated(image, labels, model, given, flags, folder)
        if out is not None:
            save_evaluation(folder, evaluation)
    for text in evaluation.doubts:
        warn(text)
    scores = evaluation.as_dict()
    click.echo(json_line(scores) if as_json else show_evaluation(scores))


def _evaluated(
    image: str, labels: str, model: str | None, given: dict[str, Any], flags: dict[str, Any], folder: Path
) -> "Evaluation":
    from agriseg.evaluation.evaluate import count_pixels, evaluate_labelled, score
    from agriseg.labels.loading import load_labels
    from agriseg.legend import Legend
    from agriseg.model import load_model
    from agriseg.options.run import RunOptions

    loaded = None if model is None else load_model(model)
    legend = loaded.legend if loaded else Legend.from_names(list(class_names(given["classes"])))
    request = replace(label_request(image, labels, legend.names, given), least=1)
    options = RunOptions.of(**flags)
    found = load_labels(request, folder)
    found.refuse()
    for text in found.remarks:
        warn(text)
    if loaded is not None:
        return evaluate_labelled(loaded, found, folder, options)
    if len(found.images) > 1:
        raise UsageError(f"--mask is of one raster, but {image} holds {len(found.images)}; name one")
    sure, origin = given["confidence"], (options.window.col_off, options.window.row_off) if options.window else None
    truth = found.images[0].labels
    return score([count_pixels(Path(given["mask"]), Path(sure) if sure else None, truth, len(legend), origin)], legend)


def _refuse(given: dict[str, Any], flags: dict[str, Any], model: str | None) -> None:
    """What contradicts itself."""
    if flags.get("gsd", "auto") not in ("auto", "native"):
        raise UsageError(f"--gsd {flags['gsd']}, but labels lie on the raster's own grid; leave it out")
    if (given["mask"] is None) == (model is None):
        raise UsageError("give either -m with a model, or --mask with its --classes")
    if given["mask"] is None:
        for name in ("classes", "confidence"):
            if given[name] is not None:
                raise UsageError(f"--{name} with -m; it belongs to --mask")
        return
    if given["classes"] is None:
        raise UsageError("--mask without --classes; name the map's classes in order")
    for name in flags:
        if name != "window":
            raise UsageError(f"--{name.replace('_', '-')} says how a model maps; with --mask leave it out")
