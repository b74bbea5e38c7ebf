"""The flags that say what is made of a finished map: the report's language, and files for other programs."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agriseg.cli.common.options import warn

if TYPE_CHECKING:
    from agriseg.export.exports import Exports

F = TypeVar("F", bound=Callable[..., Any])

HANDOVER_FLAGS = ("lang", "previous", "stac", "zarr")
"""Names of the parameters that are fields of `Exports`."""

_OPEN = "Show the report at the end, where there is a desktop."
_STAC = "Also describe the map as a STAC item, and its model (needs agriseg[stac])."


def handover_options(command: F) -> F:
    """The flags of `agriseg run` and `agriseg report` that say what is made of a finished map."""
    options = [
        click.option("--lang", type=click.Choice(("en", "zh")), help="Language of the report; en if not given."),
        click.option("--previous", metavar="FOLDER|RECORD", help="An earlier map of the field, for the trend."),
        click.option("--stac", is_flag=True, default=None, help=_STAC),
        click.option("--zarr", is_flag=True, default=None, help="Also keep the map as zarr, for xarray."),
        click.option("--open", "open_", is_flag=True, help=_OPEN),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def handover(given: dict[str, Any]) -> "Exports":
    """What the user wants of finished maps."""
    from agriseg.export.exports import Exports

    flags = {name: given[name] for name in HANDOVER_FLAGS if given.get(name) is not None}
    if "previous" in flags:
        flags["previous"] = Path(flags["previous"])
    return Exports(**flags)


def open_page(page: Path) -> None:
    """Show a page in the browser, or say why not."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        warn(f"--open: no desktop here; open {page} where there is one")
    elif click.launch(str(page.resolve())):
        warn(f"--open: no program here shows {page}; open it in a browser")
