"""`agriseg evaluate`."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import warn
from agriseg.cli.common.options import chosen, option_flags, parse, run_options, split_commas
from agriseg.errors import OutputError, UsageError
from agriseg.json_text import json_line
from agriseg.options.labels import LabelOptions
from agriseg.options.run import RunOptions

if TYPE_CHECKING:
    from agriseg.evaluation.scores import Evaluation
    from agriseg.labels.label_set import LabelRequest, LabelSet
    from agriseg.legend import Legend


@click.command("evaluate", short_help="Score a model, or a finished map, against labels.")
@click.argument("image")
@click.argument("labels")
@click.option("--mask", metavar="FILE", help="Score this map of the image instead of mapping it with a model.")
@click.option("--confidence", metavar="FILE", help="The map's confidence layer, for the calibration error.")
@click.option("--classes", metavar="LIST", help="Class names of the map; only with --mask.")
@option_flags(LabelOptions)
@click.option("-o", "--out", metavar="FOLDER", help="Keep the maps, the scores as JSON, the confusion as a picture.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@run_options
def command(
    image: str, labels: str, out: str | None, model: str | None, mask: str | None, confidence: str | None,
    classes: str | None, *, as_json: bool, **flags: Any,
) -> None:  # fmt: skip
    """Score a model on a labelled raster, or on a folder of them, mapped as by `run`; or a finished map.

    \b
    Example:
      agriseg evaluate field.tif labels.tif -m weeds.safetensors
      agriseg evaluate images masks --label-suffix _mask -m weeds.safetensors -o scores
      agriseg evaluate field.tif labels.tif --mask field_classes.tif --classes soil,crop,weed --json
    """
    run_flags = chosen(RunOptions, flags)
    if (mask is None) == (model is None):
        raise UsageError("give either -m with a model, or --mask with its --classes")
    _check_flags(list(run_flags), classes, confidence, finished=mask is not None)
    if out is not None and Path(out).exists() and any(Path(out).iterdir()):
        raise OutputError(f"{out}: is not empty; choose another -o")

    from agriseg.cli.common.format import show_evaluation
    from agriseg.evaluation.evaluate import evaluate_labelled, save_evaluation
    from agriseg.files import make_folder
    from agriseg.labels.label_set import LabelRequest
    from agriseg.maps.unsure import mask_legend
    from agriseg.model import load_model

    loaded, options = None if model is None else load_model(model), RunOptions.of(**run_flags)
    legend = loaded.legend if loaded else mask_legend(Path(mask or ""), split_commas(classes or ""))
    request = LabelRequest(Path(image), Path(labels), legend.names, parse(LabelOptions, flags), least=1)
    with tempfile.TemporaryDirectory(prefix="agriseg-") as temporary:
        folder = Path(out or temporary)
        make_folder(folder)
        label_set = _labels(request, folder)
        if loaded is None:
            places = Path(mask or ""), Path(confidence) if confidence else None
            evaluation = _of_finished(label_set, *places, legend, options)
        else:
            evaluation = evaluate_labelled(loaded, label_set, folder, options)
        if out is not None:
            save_evaluation(folder, evaluation)
    for text in evaluation.doubts:
        warn(text)
    scores = evaluation.scores()
    click.echo(json_line(asdict(scores)) if as_json else show_evaluation(scores))


def _labels(request: "LabelRequest", folder: Path) -> "LabelSet":
    """Load the labels; problems stop the command, remarks are printed."""
    from agriseg.labels.loading import load_labels

    label_set = load_labels(request, folder)
    label_set.refuse()
    for text in label_set.remarks:
        warn(text)
    return label_set


def _of_finished(
    label_set: "LabelSet", mask: Path, confidence: Path | None, legend: "Legend", options: RunOptions
) -> "Evaluation":
    """Score a finished map of the one labelled image."""
    from agriseg.evaluation.counts import count_pixels
    from agriseg.evaluation.scores import score

    if len(label_set.images) > 1:
        images = label_set.request.images
        raise UsageError(f"--mask is of one raster, but {images} contains {len(label_set.images)}; name one")
    origin = (options.window.col_off, options.window.row_off) if options.window else None
    return score([count_pixels(mask, confidence, label_set.images[0].labels, len(legend), origin)], legend)


def _check_flags(run_flags: Sequence[str], classes: str | None, confidence: str | None, *, finished: bool) -> None:
    """Refuse flags of a finished map beside a model, and flags of a run beside a finished map."""
    if not finished:
        for name, value in (("classes", classes), ("confidence", confidence)):
            if value is not None:
                raise UsageError(f"--{name} with -m; it belongs to --mask")
        return
    if classes is None:
        raise UsageError("--mask without --classes; name the map's classes in order")
    for name in run_flags:
        if name != "window":
            raise UsageError(f"--{name.replace('_', '-')} says how a model maps; with --mask leave it out")
