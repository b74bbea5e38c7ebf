"""`agriseg model list`, `agriseg model init` and `agriseg model show`."""

from pathlib import Path
from typing import Any

import click

from agriseg.cli.common.errors import warn
from agriseg.cli.common.options import split_commas
from agriseg.errors import UsageError
from agriseg.json_text import json_line

_IMAGENET = {"red": (0.485, 0.229), "green": (0.456, 0.224), "blue": (0.406, 0.225)}
_GREY = (0.449, 0.226)  # mean of ImageNet's three, for bands it does not have


@click.group("model")
def command() -> None:
    """Make and inspect model files."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(*, as_json: bool) -> None:
    """List the networks: field of view, cost, weights to start from.

    \b
    stride   input pixels per logit; a network with a finer stride outlines smaller plants
    align    tiles start at multiples of it (px)
    halo     distance within which the input changes a class (px); "all": it pools over the whole tile, so that no
             tiling equals an untiled run
    Gmac     10^9 multiply-adds of the convolutions per 10^6 pixels, for 3 bands and 3 classes

    A name with /2 to /8 at its end, such as fcn8s_resnet18/2, is the network over means of 2 x 2 to 8 x 8 pixels. Its
    field of view is 2 to 8 times as wide, for a quarter to a 64th of the work.

    \b
    Example:
      agriseg model list
    """
    from agriseg.networks import ARCHITECTURES

    facts: dict[str, dict[str, Any]] = {
        name: {
            "stride_px": design.stride, "align_px": design.align, "halo_px": design.halo,
            "parameters": design.parameters, "multiply_adds_per_px": design.multiply_adds,
            "init": list(design.pretrained),
        }
        for name, design in ARCHITECTURES.items()
    }  # fmt: skip
    if as_json:
        click.echo(json_line(facts))
        return
    row = "{:27}{:>6}  {:>5}  {:>4}  {:>10}  {:>4}  {}".format
    click.echo(row("network", "stride", "align", "halo", "parameters", "Gmac", "--init"))
    for name, fact in facts.items():
        halo = "all" if fact["halo_px"] is None else fact["halo_px"]
        numbers = f"{fact['parameters']:,}", f"{fact['multiply_adds_per_px'] / 1e3:.0f}"
        click.echo(row(name, fact["stride_px"], fact["align_px"], halo, *numbers, ", ".join(fact["init"]) or "-"))


@command.command("init")
@click.option("--arch", required=True, metavar="NAME", help="A network of 'agriseg model list'.")
@click.option("--classes", required=True, metavar="LIST", help="Class names in channel order, such as soil,crop,weed.")
@click.option("--bands", default="red,green,blue", show_default=True, metavar="LIST", help="Roles of the input bands.")
@click.option("--seed", default=0, show_default=True, help="Of the random weights.")
@click.option(
    "--init", "source", metavar="NAME|FILE|URL",
    help="Weights to start from: imagenet, coco, a file of torchvision or timm, a model.",
)  # fmt: skip
@click.option(
    "--scale", type=float, default=1 / 255, help="Factor from a stored number to a share of full scale; default 1/255."
)
@click.option("--mean", metavar="LIST", help="Per band, after --scale; default those of ImageNet.")
@click.option("--std", metavar="LIST", help="Per band, after --scale; default those of ImageNet.")
@click.option("--gsd", metavar="LENGTH", help="Ground sample distance of the training images, such as 5cm.")
@click.option("--name", metavar="TEXT", help="Name of the model; default the stem of the file.")
@click.option("-o", "--out", required=True, metavar="FILE", help="The .safetensors to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def init(
    arch: str, classes: str, bands: str, seed: int, source: str | None, scale: float, mean: str | None, std: str | None,
    gsd: str | None, name: str | None, out: str, *, overwrite: bool,
) -> None:  # fmt: skip
    """Make a model file with random or pretrained weights, to train or test with.

    \b
    Example:
      agriseg model init --arch fcn_resnet50 --classes soil,crop,weed --seed 0 -o m.safetensors
      agriseg model init --arch fcn8s_resnet18 --classes soil,crop --init resnet18.pth -o m.safetensors
    """
    from agriseg import units
    from agriseg.files import exists_error, make_folder
    from agriseg.legend import Legend
    from agriseg.model import SegmentationModel
    from agriseg.networks import architecture
    from agriseg.training.initial_weights import initial_network

    path = Path(out)
    if path.exists() and not overwrite:
        raise exists_error(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: a model file ends in .safetensors; name it so")
    roles = split_commas(bands)
    design = architecture(arch)
    legend = Legend.from_names(list(split_commas(classes)))
    began = initial_network(design, roles, legend.names, seed, source)
    if began.note:
        warn(began.note)
    model = SegmentationModel(
        began.network, legend=legend, bands=roles, scale=scale,
        mean=_numbers(mean, "--mean") or tuple(_IMAGENET.get(role, _GREY)[0] for role in roles),
        std=_numbers(std, "--std") or tuple(_IMAGENET.get(role, _GREY)[1] for role in roles),
        stride=design.stride, align=design.align, halo=design.halo, gsd=None if gsd is None else units.metres(gsd),
        name=name or path.stem, architecture=arch,
        about={"provenance": f"agriseg model init, seed {seed}, from {began.origin}; not trained"},
    )  # fmt: skip
    make_folder(path.parent)
    model.save(path)
    click.echo(path)


@command.command("show")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(file: str, *, as_json: bool) -> None:
    """Print the metadata of a model file.

    \b
    Example:
      agriseg model show m.safetensors
    """
    from agriseg.mapping.record import curve_of
    from agriseg.model import load_model

    model = load_model(file)
    curve = curve_of(model)
    parameters = sum(weight.numel() for weight in model.network.parameters())
    facts = {
        "name": model.name, "architecture": model.architecture, "parameters": parameters,
        "classes": {c.name: c.colour for c in model.legend}, "bands": list(model.bands), "scale": model.scale,
        "mean": list(model.mean), "std": list(model.std), "normalize_by": model.normalize_by, "gsd_m": model.gsd,
        "stride_px": model.stride, "align_px": model.step, "halo_px": model.halo, "temperature": model.temperature,
        "fingerprint": model.fingerprint, "about": dict(model.about),
    }  # fmt: skip
    if as_json:
        click.echo(json_line(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name:>13}  {json_line(value) if isinstance(value, dict | list) else value}")
    if curve is not None:
        click.echo(f"{'curve':>13}  {curve.text}")


def _numbers(text: str | None, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in split_commas(text)) if text else ()
    except ValueError as error:
        raise UsageError(f"{flag} {text!r}, expected numbers such as 0.5,0.4,0.3") from error
