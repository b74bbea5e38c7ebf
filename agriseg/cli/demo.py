"""`agriseg demo`."""

from pathlib import Path

import click

from agriseg.bundled_models import bundled_model
from agriseg.cli.common.progress import Progress


@click.command("demo", short_help="Map a synthetic field and compare with its truth.")
@click.option("-o", "--out", default="demo", show_default=True, metavar="FOLDER", help="Folder of all files.")
@click.option("--width", default=2048, show_default=True, metavar="PX", help="Width of the field; a pixel is 5 cm.")
@click.option("--height", default=1536, show_default=True, metavar="PX", help="Height of the field.")
@click.option("--seed", default=7, show_default=True, help="Seed of the field.")
def command(out: str, width: int, height: int, seed: int) -> None:
    """Make a synthetic field with known truth, map it, compare, and draw a picture.

    \b
    Example:
      agriseg demo -o demo
    """
    from agriseg.demo.demo import run_demo
    from agriseg.model import load_model

    model = load_model(bundled_model("demo"))
    with Progress("field.tif", quiet=False) as progress:
        demo = run_demo(Path(out), model, height=height, width=width, seed=seed, progress=progress)
    click.echo("A synthetic field, mapped with a model of other synthetic fields: it shows the tool, not its accuracy.")
    click.echo(f"  {'class':15} {'mapped ha':>10} {'true ha':>10} {'IoU':>6}")
    for count, true, score in zip(demo.report.counts, demo.true_hectares, demo.iou, strict=True):
        click.echo(f"  {count.name:15} {count.hectares:10.4f} {true:10.4f} {score:6.3f}")
    counts = ", ".join(f"{name} {pixels:,}" for name, pixels in vars(demo.report.pixels).items())
    seams = f"seam ratio {demo.report.seam_ratio:.2f} (of the truth: {demo.true_seams:.2f})"
    click.echo(f"  mIoU {sum(demo.iou) / len(demo.iou):.3f}, {seams}")
    click.echo(f"  pixels: {counts}")
    click.echo(f"  drag {demo.report.classes} into QGIS: the legend is included")
    click.echo(f"  open {demo.page} in a browser: affected areas and scouting points")
    click.echo(f"{demo.picture}")
