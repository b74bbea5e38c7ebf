"""Flags of commands from the fields of options classes."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from agriseg.options.table import Flag, OptionsClass, flags_of

F = TypeVar("F", bound=Callable[..., Any])


def option_flags(*tables: type[OptionsClass]) -> Callable[[F], F]:
    """Decorate a command with a flag for each option of these classes, in the order of their fields."""

    def decorate(command: F) -> F:
        for name, flag in reversed([item for table in tables for item in flags_of(table).items()]):
            command = _click_option(name, flag)(command)
        return command

    return decorate


def chosen(table: type[OptionsClass], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of a command's flags that are options of a class and differ from the default of the flag."""
    return {name: values[name] for name in flags_of(table) if values.get(name) not in (None, ())}


def _click_option(name: str, flag: Flag) -> Callable[[F], F]:
    names = flag.names or (f"--{name.replace('_', '-')}",)
    kind = click.Choice(flag.choices) if flag.choices else click.IntRange(*flag.span) if flag.span else flag.kind
    return click.option(
        *names, name, type=kind, is_flag=flag.kind is bool, default=None, multiple=flag.multiple, metavar=flag.metavar,
        help=flag.help,
    )  # fmt: skip
