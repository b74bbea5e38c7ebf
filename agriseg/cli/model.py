"""`agriseg model init` and `agriseg model show`."""

import json
from pathlib import Path

import click

from agriseg.errors import ModelError, UsageError

_IMAGENET = {"red": (0.485, 0.229), "green": (0.456, 0.224), "blue": (0.406, 0.225)}
_GREY = (0.449, 0.226)  # mean of ImageNet's three, for bands it does not have


@click.group("model")
def command() -> None:
    """Make and look at model files."""


@command.command("init")
@click.option(
    "--arch",
    required=True,
    metavar="NAME",
    help="fcn_resnet50, fcn_resnet101, fcn8s_resnet18, fcn8s_resnet34, unet_small, fcn_small.",
)
@click.option("--classes", required=True, metavar="LIST", help="Class names in channel order, such as soil,crop,weed.")
@click.option("--bands", default="red,green,blue", show_default=True, metavar="LIST", help="Roles of the input bands.")
@click.option("--seed", default=0, show_default=True, help="Of the random weights.")
@click.option(
    "--state", metavar="FILE", help="torchvision weights to start from; of the whole network or of its ResNet."
)
@click.option("--scale", type=float, default=1 / 255, help="Stored number to share of full scale; 1/255 if not given.")
@click.option("--mean", metavar="LIST", help="Per band after --scale; ImageNet's if not given.")
@click.option("--std", metavar="LIST", help="Per band after --scale; ImageNet's if not given.")
@click.option("--gsd", metavar="LENGTH", help="Ground resolution of the training images, such as 5cm.")
@click.option("--name", metavar="TEXT", help="Name of the model; the file's stem if not given.")
@click.option("-o", "--out", required=True, metavar="FILE", help="The .safetensors to write.")
@click.option("--overwrite", is_flag=True, help="Replace a file that exists.")
def init(
    arch: str, classes: str, bands: str, seed: int, state: str | None, scale: float, mean: str | None, std: str | None,
    gsd: str | None, name: str | None, out: str, *, overwrite: bool,
) -> None:  # fmt: skip
    """Make a model file with random or torchvision's weights.

    \b
    Example:
      agriseg model init --arch fcn_resnet50 --classes soil,crop,weed --seed 0 -o m.safetensors
      agriseg model init --arch fcn8s_resnet18 --classes soil,crop --state resnet18.pth -o m.safetensors
    """
    from agriseg import units
    from agriseg.errors import OutputError
    from agriseg.files import make_folder
    from agriseg.legend import Legend
    from agriseg.model import SegmentationModel, read_torchvision_state
    from agriseg.networks import architecture, load_torchvision_state

    path = Path(out)
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists and is not overwritten; add --overwrite or choose another -o")
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: a model file ends in .safetensors; name it so")
    roles = tuple(_words(bands))
    design = architecture(arch)
    legend = Legend.from_names(_words(classes))
    network = design.build(len(roles), len(legend), seed)
    if state is not None:
        if not hasattr(network, "backbone"):
            raise ModelError(f"{arch} has no torchvision weights; leave --state out")
        fresh = load_torchvision_state(network, read_torchvision_state(Path(state)), roles)
        if fresh:
            click.echo(
                f"agriseg: random weights stay in {len(fresh)} tensors of the head: {', '.join(fresh)}", err=True
            )
    model = SegmentationModel(
        network, legend=legend, bands=roles, scale=scale,
        mean=_numbers(mean, "--mean") or tuple(_IMAGENET.get(role, _GREY)[0] for role in roles),
        std=_numbers(std, "--std") or tuple(_IMAGENET.get(role, _GREY)[1] for role in roles),
        stride=design.stride, align=design.align, halo=design.halo, gsd=None if gsd is None else units.metres(gsd),
        name=name or path.stem, architecture=arch,
        about={"provenance": f"agriseg model init, seed {seed}, from {state or 'random weights'}; not trained"},
    )  # fmt: skip
    make_folder(path.parent)
    model.save(path)
    click.echo(path)


@command.command("show")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(file: str, *, as_json: bool) -> None:
    """Print what a model file says about itself.

    \b
    Example:
      agriseg model show m.safetensors
    """
    from agriseg.model import load_model

    model = load_model(file)
    parameters = sum(weight.numel() for weight in model.network.parameters())
    facts = {
        "name": model.name, "architecture": model.architecture, "parameters": parameters,
        "classes": {c.name: c.colour for c in model.legend}, "bands": list(model.bands), "scale": model.scale,
        "mean": list(model.mean), "std": list(model.std), "gsd_m": model.gsd, "stride_px": model.stride,
        "align_px": model.step, "halo_px": model.halo, "temperature": model.temperature,
        "fingerprint": model.fingerprint, "about": dict(model.about),
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name:>13}  {json.dumps(value) if isinstance(value, dict | list) else value}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _numbers(text: str | None, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _words(text)) if text else ()
    except ValueError as error:
        raise UsageError(f"{flag} {text!r}, expected numbers such as 0.5,0.4,0.3") from error
