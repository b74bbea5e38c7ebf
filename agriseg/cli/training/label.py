"""`agriseg label`."""

import os
from pathlib import Path

import click

from agriseg.cli.common.errors import end_on_signals, resume_hint


@click.command("label", short_help="Label a raster in the browser, and see its map at once.")
@click.argument("image", metavar="IMAGE")
@click.option("--classes", required=True, metavar="LIST", help="Class names, the ground first: soil,crop,weed.")
@click.option("-o", "--out", metavar="FOLDER", help="Folder of labels, model and map; default IMAGE's name + _labels.")
@click.option("-m", "--model", metavar="FILE", help="Model to start from, a unet_lite0; default ImageNet's weights.")
@click.option("--bands", metavar="LIST", help="Numbers of red, green and blue: 3,2,1; default what the file says.")
@click.option("--nodata", type=float, metavar="VALUE", help="Nodata value, in addition to the one the image declares.")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Port; default that of before, or a free one.")
@click.option("--open/--no-open", "open_", default=False, help="Open the page in the browser.")
def command(
    image: str, *, classes: str, out: str | None, model: str | None, bands: str | None, nodata: float | None,
    port: int | None,
    open_: bool,
) -> None:  # fmt: skip
    """Label a raster in the browser: click plants, see the map, correct it where it is wrong, finish.

    The command prints the address of the page, which only this machine can open. For a machine without a desktop,
    forward the port: ssh -L 8080:127.0.0.1:8080 machine, with --port 8080. Ctrl-C ends it; the labels stay in
    FOLDER/labels.gpkg, and the same command goes on with them.

    \b
    Example:
      agriseg label field.tif --classes soil,crop,weed
      agriseg label field.tif --classes soil,crop,weed -m weeds.safetensors -o labels --open
    """
    end_on_signals()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: here a job's network runs beside the page's
    path = Path(image)
    from agriseg.bundled_models import model_file
    from agriseg.label_server.server import serve
    from agriseg.labelling.session import LabellingRequest, open_session
    from agriseg.options.run import RunOptions

    reading = RunOptions.of(gsd="native", bands=bands, nodata=nodata)
    folder = Path(f"{path.stem}_labels") if out is None else Path(out)
    names = tuple(name.strip() for name in classes.split(","))
    request = LabellingRequest(path, names, folder, None if model is None else model_file(model), reading)

    def opened(address: str) -> None:
        click.echo(address)
        click.echo(f"agriseg: labels in {folder / 'labels.gpkg'}; Ctrl-C ends", err=True)
        if open_:
            click.launch(address)

    hint = "the labels are saved, and the same command goes on with them"
    with resume_hint(folder / "labels.gpkg", hint), open_session(request) as session:
        serve(session, folder, port, opened)
