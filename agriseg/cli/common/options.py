"""Options that several commands share: flags from options classes, model, `--open`."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from agriseg.bundled_models import DEFAULT, bundled_model, model_file
from agriseg.cli.common.errors import warn
from agriseg.options.request import REQUEST_TABLES, MappingRequest
from agriseg.options.run import RunOptions
from agriseg.options.table import Flag, Options, flags_of

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=Options)


def option_flags(*tables: type[Options]) -> Callable[[F], F]:
    """Decorate a command with a flag for each option of these classes, in the order of their fields."""

    def decorate(command: F) -> F:
        for name, flag in reversed([item for table in tables for item in flags_of(table).items()]):
            command = _click_option(name, flag)(command)
        return command

    return decorate


def chosen(table: type[Options], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of a command's flags that are options of a class and differ from the default of the flag."""
    return {name: values[name] for name in flags_of(table) if values.get(name) not in (None, ())}


def parse(table: type[T], values: Mapping[str, Any]) -> T:
    """The options of a class, from the values of a command's flags."""
    return table.of(**chosen(table, values))


def requested(values: Mapping[str, Any], *, layers: bool) -> MappingRequest:
    """The map, layers and exports to make of each raster, from the values of a command's flags."""
    flags = {name: value for table in REQUEST_TABLES for name, value in chosen(table, values).items()}
    return MappingRequest.of(layers=layers, **flags)


def _click_option(name: str, flag: Flag) -> Callable[[F], F]:
    names = flag.names or (f"--{name.replace('_', '-')}",)
    kind = click.Choice(flag.choices) if flag.choices else click.IntRange(*flag.span) if flag.span else flag.kind
    return click.option(
        *names, name, type=kind, is_flag=flag.kind is bool, default=None, multiple=flag.multiple, metavar=flag.metavar,
        help=flag.help,
    )  # fmt: skip


def run_options(command: F) -> F:
    """The model, and the flags of `RunOptions`."""
    text = "Model file, or the name of a bundled model; default: vegetation."
    model = click.option("-m", "--model", metavar="FILE", help=text)
    return model(option_flags(RunOptions)(command))


def split_commas(text: str) -> tuple[str, ...]:
    """The parts of a list such as `soil,crop,weed`."""
    return tuple(name.strip() for name in text.split(","))


def open_option(command: F) -> F:
    """`--open`, which `open_page` carries out."""
    text = "Show the report at the end, where there is a desktop."
    return click.option("--open", "open_", is_flag=True, help=text)(command)


def chosen_model(path: str | None) -> tuple[Path, str | None]:
    """The model's file, and a warning if no model was named."""
    if path is not None:
        return model_file(path), None
    return bundled_model(DEFAULT), (
        "no -m given: using the bundled model vegetation (soil, vegetation). It tells living plants from soil and no "
        "crop from weeds; name a model of your own classes with -m or in agriseg.toml"
    )


def open_page(page: Path) -> None:
    """Show a page in the browser, or warn that it cannot be shown."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        warn(f"--open: no desktop here; open {page} where there is one")
    elif click.launch(str(page.resolve())):
        warn(f"--open: no program here shows {page}; open it in a browser")
