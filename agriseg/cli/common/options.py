"""Options that commands share."""

from collections.abc import Callable
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, TypeVar

import click

from agriseg.errors import UsageError
from agriseg.options.run import BLENDS, ON_READ_ERROR, PRECISIONS, find_config, read_config

F = TypeVar("F", bound=Callable[..., Any])

RUN_FLAGS = (
    "blend", "tile", "overlap", "margin", "batch", "device", "precision", "max_memory", "window", "bands", "gsd",
    "nodata", "probabilities", "threads", "band_rows", "on_read_error", "require_crs",
)  # fmt: skip
"""Names of the parameters that are fields of `RunOptions`."""


_BANDS = "Which band is which: red=3,green=2,blue=1, or 3,2,1 in the model's order; alpha=4 marks a validity band."
_DAMAGED = "A block that cannot be read: stop (default), or leave it out of the map and end with exit code 3."
_CPU = "Threads of the network in each process, on which the bytes depend; the cores shared out if not given."
_BLEND = "How tiles meet. exact: as an untiled run; smooth (default): a quarter overlaps; fast: an eighth."


def run_options(command: F) -> F:
    """The flags of `agriseg run` that say how a raster is mapped."""
    options = [
        click.option("-m", "--model", metavar="FILE", help="Model file; else the bundled potato-weed model."),
        click.option("-b", "--bands", metavar="LIST", help=_BANDS),
        click.option("--gsd", metavar="LENGTH", help="auto (the model's, default), native (the raster's), or 5cm."),
        click.option("--nodata", type=float, metavar="VALUE", help="Means no data, beside what the file declares."),
        click.option("--window", metavar="COL,ROW,WIDTH,HEIGHT", help="Map only this part, in pixels of the raster."),
        click.option("--blend", type=click.Choice(BLENDS), help=_BLEND),
        click.option("--tile", type=int, metavar="PX", help="Side of a tile."),
        click.option("--overlap", metavar="PX|%", help="What neighbouring tiles share, such as 64 or 25%."),
        click.option("--margin", type=int, metavar="PX", help="Pixels at a tile's inner edge that only give context."),
        click.option("--batch", type=int, metavar="N", help="Tiles per step of the network."),
        click.option("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:1, mps."),
        click.option("--precision", type=click.Choice(PRECISIONS), help="Numbers the network computes in."),
        click.option("--max-memory", metavar="SIZE", help="Memory the run may take above the program, such as 2GB."),
        click.option("--threads", type=int, metavar="N", help="Dask threads: to read ahead, run and write behind."),
        click.option("--band-rows", type=int, metavar="N", help="Tile rows per Dask task."),
        click.option("--on-read-error", type=click.Choice(ON_READ_ERROR), help=_DAMAGED),
        click.option("--require-crs", is_flag=True, default=None, help="Refuse a raster without georeference."),
        click.option("--probabilities", is_flag=True, default=None, help="Also write one band per class."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def worker_options(default: int | None) -> Callable[[F], F]:
    """The flags that say which processes work.

    Args:
        default: number of processes on this machine; None for one a GPU where there are several, else this one alone.
    """
    count = f"Worker processes; {default or 'one a GPU if there are several, else none: threads in this one'}."

    def decorate(command: F) -> F:
        options = [
            click.option("--workers", type=click.IntRange(default or 0), default=default, metavar="N", help=count),
            click.option(
                "--scheduler", metavar="ADDRESS", help="Use the workers of this Dask scheduler: tcp://HOST:PORT."
            ),
            click.option(
                "--scheduler-file", metavar="FILE", help="The same, by the file that 'dask scheduler' writes."
            ),
            click.option("--cpu-threads", type=click.IntRange(1), metavar="N", help=_CPU),
        ]
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def scheduler_of(address: str | None, file: str | None) -> str | None:
    """The scheduler that a user means, if any."""
    if address and file:
        raise UsageError("--scheduler and --scheduler-file; give one of them")
    return address or file


def config_option(command: F) -> F:
    """`-c FILE`: defaults from a TOML file, or from the nearest agriseg.toml above the current folder."""
    return click.option(
        "-c", "--config", metavar="FILE", is_eager=True, expose_value=False, callback=_take_defaults,
        help="TOML file with defaults; else the nearest agriseg.toml upward.",
    )(command)  # fmt: skip


def run_flags(given: dict[str, Any]) -> dict[str, Any]:
    """Those of a command's parameters that are fields of `RunOptions` and were given."""
    return {name: given[name] for name in RUN_FLAGS if given.get(name) is not None}


def bundled_model(name: str) -> Path:
    """A model that comes with agriseg: `demo`, of synthetic pictures, or `potato_weed`, of one real field."""
    return Path(str(package_files("agriseg"))) / "data" / f"{name}.safetensors"


def chosen_model(path: str | None) -> tuple[Path, str | None]:
    """The model's file, and what to say when nobody named one."""
    if path is not None:
        return Path(path), None
    return bundled_model("potato_weed"), (
        "no -m given: using the bundled model potato-weed (soil, potato, weed), which has seen one field of potatoes "
        "from the air, plants about 70 px wide; on anything else check it with 'agriseg evaluate', or name your own "
        "model with -m or in agriseg.toml"
    )


def warn(text: str) -> None:
    """A line on stderr that does not stop the run."""
    from agriseg.cli.common.errors import one_line

    click.echo(one_line(f"agriseg: warning: {text}"), err=True)


def _take_defaults(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    path = Path(value) if value else find_config(Path.cwd())
    if path is None or ctx.resilient_parsing:
        return
    group = ctx.parent.command if ctx.parent else None
    if not isinstance(group, click.Group) or ctx.parent is None:
        raise UsageError(f"{path}: no command to give defaults to")
    known = {name: _keys(group.get_command(ctx.parent, name)) for name in group.list_commands(ctx.parent)}
    tables = read_config(path, known)
    ctx.default_map = tables.get(ctx.info_name or "", {})


def _keys(command: click.Command | None) -> list[str]:
    return [param.name for param in command.params if isinstance(param, click.Option) and param.name] if command else []
