"""`agriseg suggest`."""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import end_on_signals, resume_hint, warn
from agriseg.cli.common.options import chosen_model, option_flags, parse, run_options
from agriseg.cli.common.progress import Progress
from agriseg.errors import UsageError
from agriseg.json_text import json_line
from agriseg.options.run import RunOptions
from agriseg.options.suggest import SuggestOptions

if TYPE_CHECKING:
    from agriseg.suggest.suggest import Suggestions
    from agriseg.suggest.todo import SuggestedBox

_SHOWN = 10


@click.command("suggest", short_help="Suggest where to label next: boxes in an order worth following.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-o", "--out", metavar="FILE", default="todo.gpkg", help="The .gpkg or .geojson; default todo.gpkg.")
@option_flags(SuggestOptions)
@run_options
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings.")
def command(
    images: tuple[str, ...], out: str, model: str | None, *, overwrite: bool, as_json: bool, quiet: bool, **flags: Any
) -> None:
    """Suggest which boxes of rasters, or of folders of them, to label next, the first to label first.

    These are boxes that the model is unsure about and that are unlike each other. A picture shows them on the image.

    \b
    Example:
      agriseg suggest field.tif -m weeds.safetensors -n 20 -o todo.gpkg
      agriseg suggest photos -m weeds.safetensors --box 512px --done done.gpkg
    """
    end_on_signals()
    from agriseg.model import load_model
    from agriseg.suggest.suggest import check_outputs, images_of, suggest

    options, run, path = parse(SuggestOptions, flags), parse(RunOptions, flags), Path(out)
    for name, value in (("probabilities", run.probabilities), ("min-confidence", run.min_confidence)):
        if value:
            raise UsageError(f"--{name} is part of a map, and suggest keeps none; leave it out")
    paths = images_of([Path(image) for image in images])
    check_outputs(path, paths, overwrite=overwrite)
    file, warning = chosen_model(model)
    loaded = load_model(file)
    if warning and not quiet:
        warn(warning)
    name = paths[0].name if len(paths) == 1 else f"{len(paths)} images"
    with Progress(name, quiet=quiet) as progress, resume_hint(path, "run the same command again"):
        suggestions = suggest(paths, loaded, path, options, run, progress)
    if not quiet:
        _warn(suggestions, options)
    click.echo(_json(suggestions) if as_json else _table(suggestions))


def _warn(suggestions: "Suggestions", options: SuggestOptions) -> None:
    """Print what to know of the images, once each, and of the number of boxes."""
    about: dict[str, list[Path]] = {}
    for image in suggestions.images:
        for text in image.warnings:
            about.setdefault(text, []).append(image.image)
    for text, images in about.items():
        warn(f"{images[0]}{f' and {len(images) - 1} more' if len(images) > 1 else ''}: {text}")
    if len(suggestions.boxes) < options.count:
        warn(f"only {len(suggestions.boxes)} of {options.count} boxes: the images have no more")


def _json(suggestions: "Suggestions") -> str:
    """The boxes and the files as one JSON object."""
    rows = [
        {"rank": box.rank, "image": str(suggestions.images[box.image].image), "why": box.why, **_numbers(box)}
        for box in suggestions.boxes
    ]
    files = list(map(str, suggestions.files))
    return json_line({"boxes": rows, "candidates": suggestions.candidates, "files": files})


def _numbers(box: "SuggestedBox") -> dict[str, float | None]:
    """The numbers that a box was chosen by; no distance where there is no box before it."""
    return {"entropy": box.entropy, "rarity": box.rarity, "distance": None if isnan(box.distance) else box.distance}


def _table(suggestions: "Suggestions") -> str:
    """The first boxes, what is left of them, and the files."""
    boxes = suggestions.boxes
    width = max(len("image"), *(len(suggestions.images[box.image].image.name) for box in boxes[:_SHOWN]))
    lines = [f"  {'rank':>4}  {'image':{width}}  {'entropy':>7} {'rarity':>7} {'distance':>8}  why"]
    for box in boxes[:_SHOWN]:
        numbers = ["-" if value is None else f"{value:.3g}" for value in _numbers(box).values()]
        name = suggestions.images[box.image].image.name
        lines.append(f"  {box.rank:>4}  {name:{width}}  {numbers[0]:>7} {numbers[1]:>7} {numbers[2]:>8}  {box.why}")
    if len(boxes) > _SHOWN:
        lines.append(f"  {'...':>4}  {len(boxes) - _SHOWN} more in the file")
    lines.append(f"  {len(boxes)} of {suggestions.candidates:,} boxes that could be labelled")
    return "\n".join([*lines, *map(str, suggestions.files)])
