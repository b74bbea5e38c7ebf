"""`agriseg export`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agriseg.errors import UsageError
from agriseg.json_text import json_line

if TYPE_CHECKING:
    from agriseg.model import SegmentationModel
    from agriseg.model_export.export import ModelExport
    from agriseg.model_export.quantize import Int8Request
    from agriseg.networks.onnx_file import Int8Facts

_TARGETS = ("onnx", "openvino", "torch-export")
_MEGABYTE = 10**6


@click.command("export", short_help="Write a model for other programs: ONNX, OpenVINO, torch.export.")
@click.option("-m", "--model", required=True, metavar="FILE", help="Model file, or the name of a bundled model.")
@click.option("--to", "target", required=True, type=click.Choice(_TARGETS), help="The format to write.")
@click.option(
    "-o",
    "--out",
    metavar="FILE",
    help="The file to write; default: the model's name, _int8 if so, and .onnx, .xml or .pt2.",
)
@click.option(
    "--tile", metavar="PX|any",
    help="Side of the square tiles that the file takes, or any size; default: 512 for onnx, else any.",
)  # fmt: skip
@click.option("--check", "image", metavar="IMAGE", help="Compare the labels on tiles of this raster too.")
@click.option("--int8", is_flag=True, help="Put the inner layers in int8; onnx and openvino.")
@click.option(
    "--calibrate", metavar="IMAGE", multiple=True,
    help="With --int8: find the range of the numbers on tiles of this raster; give it for each of several.",
)  # fmt: skip
@click.option(
    "--validation", metavar="IMAGES LABELS", nargs=2,
    help="With --int8: compare the mean IoU on these labelled rasters too; a file or a folder each.",
)  # fmt: skip
@click.option("-b", "--bands", metavar="LIST", help="With --int8: bands of these rasters, as for 'agriseg run'.")
@click.option("--nodata", metavar="VALUE", help="With --int8: nodata value of these rasters, beside the declared one.")
@click.option("--force", is_flag=True, help="With --int8: write the file however many labels differ.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    model: str, target: str, out: str | None, tile: str | None, image: str | None, calibrate: tuple[str, ...],
    validation: tuple[str, str] | None, bands: str | None, nodata: str | None, *, int8: bool, force: bool,
    overwrite: bool, as_json: bool,
) -> None:  # fmt: skip
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
      agriseg export -m weeds.safetensors --to onnx --int8 --calibrate field.tif -o weeds_int8.onnx
    """
    from agriseg.files import exists_error
    from agriseg.model import load_model
    from agriseg.model_export.export import ANY, TARGETS, default_tile, export_model

    loaded = load_model(model)
    ending = f"{'_int8' * int8}{TARGETS[target]}"
    path = Path(out) if out else Path(f"{Path(loaded.path or loaded.name).stem}{ending}")
    if path.exists() and not overwrite:
        raise exists_error(path)
    side = default_tile(loaded, target) if tile is None else None if tile == ANY else _pixels(tile)
    reading = {name: text for name, text in (("bands", bands), ("nodata", nodata)) if text is not None}
    request = _int8_request(calibrate, validation, reading, force=force, int8=int8)
    made = export_model(loaded, target, path, side, None if image is None else Path(image), request)
    if as_json:
        click.echo(json_line({**asdict(made), "files": [str(each) for each in made.files]}))
        return
    for line in _lines(made):
        click.echo(line)
    if target == "onnx" and loaded.normalize_by == "raster":
        click.echo(
            "not for Deepness: the model normalizes each raster by its own mean colour, which Deepness cannot do"
        )


def _int8_request(
    calibrate: Sequence[str], validation: tuple[str, str] | None, reading: Mapping[str, str], *, int8: bool, force: bool
) -> "Int8Request | None":
    """What to quantise with; None without --int8."""
    if not int8:
        if calibrate or validation or reading or force:
            raise UsageError("--calibrate, --validation, --bands, --nodata and --force belong to --int8; add it")
        return None
    if not calibrate:
        raise UsageError("--int8 without images to find the range of the numbers on; add --calibrate IMAGE")
    from agriseg.evaluation.evaluate import evaluate
    from agriseg.model_export.quantize import Int8Request
    from agriseg.options.run import RunOptions

    options = RunOptions.of(precision="fp32", **reading)

    def mean_iou(model: "SegmentationModel") -> float:
        images, labels = validation or ("", "")
        return evaluate(model, images, labels, options=options).miou

    return Int8Request(tuple(map(Path, calibrate)), options, mean_iou if validation else None, force)


def _lines(made: "ModelExport") -> list[str]:
    size = "images of any size" if made.tile is None else f"tiles of {made.tile} x {made.tile} px"
    files = [f"{each} ({each.stat().st_size / _MEGABYTE:.1f} MB)" for each in made.files]
    return [
        f"{', '.join(files)}: takes {size}",
        *([_int8_line(made.int8)] if made.int8 else []),
        *(
            f"{each.tiles} tiles, {each.pixels:,} px: {each.equal:.3%} of the labels as in torch fp32, "
            f"probabilities within {each.error:.1g}"
            for each in made.parities
        ),
    ]


def _int8_line(facts: "Int8Facts") -> str:
    text = f"{facts.layers} of {facts.all_layers} layers in int8, calibrated on {facts.tiles} tiles"
    if facts.mean_iou is None:
        return text
    before, after = facts.mean_iou
    return f"{text}; mean IoU {after:.4f} on the validation data, {before:.4f} in fp32"


def _pixels(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"--tile {text!r}, expected pixels, such as 512, or any")
    return int(text)
