"""`agriseg export`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agriseg.errors import UsageError
from agriseg.json_text import json_line

if TYPE_CHECKING:
    from agriseg.model_export.export import ModelExport

_TARGETS = ("onnx", "openvino", "torch-export")
_MEGABYTE = 10**6


@click.command("export", short_help="Write a model for other programs: ONNX, OpenVINO, torch.export.")
@click.option("-m", "--model", required=True, metavar="FILE", help="Model file, or the name of a bundled model.")
@click.option("--to", "target", required=True, type=click.Choice(_TARGETS), help="The format to write.")
@click.option(
    "-o", "--out", metavar="FILE", help="The file to write; default: the model's name with .onnx, .xml, .pt2."
)
@click.option(
    "--tile", metavar="PX|any",
    help="Side of the square tiles that the file takes, or any size; default: 512 for onnx, else any.",
)  # fmt: skip
@click.option("--check", "image", metavar="IMAGE", help="Compare the labels on tiles of this raster too.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    model: str, target: str, out: str | None, tile: str | None, image: str | None, *, overwrite: bool, as_json: bool
) -> None:
    """Write a model for other programs, once its labels are compared with those of torch.

    Maps for other programs are options of 'agriseg run', such as --stac.

    \b
    onnx           for 'agriseg run -m', for the QGIS plugin Deepness, for any runtime of ONNX
    openvino       an .xml and a .bin
    torch-export   for torch without agriseg

    \b
    Example:
      agriseg export -m potato-weed --to onnx -o potato.onnx
      agriseg export -m weeds.safetensors --to openvino --check field.tif
    """
    from agriseg.files import exists_error
    from agriseg.model import load_model
    from agriseg.model_export.export import ANY, TARGETS, default_tile, export_model

    loaded = load_model(model)
    path = Path(out) if out else Path(f"{Path(loaded.path or loaded.name).stem}{TARGETS[target]}")
    if path.exists() and not overwrite:
        raise exists_error(path)
    side = default_tile(loaded, target) if tile is None else None if tile == ANY else _pixels(tile)
    made = export_model(loaded, target, path, side, None if image is None else Path(image))
    if as_json:
        click.echo(json_line({**asdict(made), "files": [str(each) for each in made.files]}))
        return
    for line in _lines(made):
        click.echo(line)
    if target == "onnx" and loaded.normalize_by == "raster":
        click.echo(
            "not for Deepness: the model normalizes each raster by its own mean colour, which Deepness cannot do"
        )


def _lines(made: "ModelExport") -> list[str]:
    size = "images of any size" if made.tile is None else f"tiles of {made.tile} x {made.tile} px"
    files = [f"{each} ({each.stat().st_size / _MEGABYTE:.1f} MB)" for each in made.files]
    return [
        f"{', '.join(files)}: takes {size}",
        *(
            f"{each.tiles} tiles, {each.pixels:,} px: {each.equal:.3%} of the labels as in torch fp32, "
            f"probabilities within {each.error:.1g}"
            for each in made.parities
        ),
    ]


def _pixels(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"--tile {text!r}, expected pixels, such as 512, or any")
    return int(text)
